// A part of a tensor whose place only the run knows: read, and put into zeros.
#pragma once
#include "index.cuh"
#include "types.cuh"

// Where a part of `size` elements begins along an axis: inside, whatever was asked.
template <bool wraps, class I>
__device__ __forceinline__ i64 start_inside(const I* start, i64 extent, i64 size) {
  i64 first = (i64)*start;
  if (wraps && first < 0) first += extent;
  const i64 last = extent - size;
  first = first < last ? first : last;
  return first > 0 ? first : 0;
}

// out[...] = x at `from` and steps from there, in runs of V elements. The last of the
// RANK axes counts runs; all steps are in elements.
template <int V, int RANK, class T>
__device__ __forceinline__ void read_part(T* out, const T* x, i64 from,
                                          const u32 (&sizes)[RANK],
                                          const i64 (&steps)[RANK], u32 total) {
  const u32 number = blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= total) return;
  u32 rest = number;
#pragma unroll
  for (int axis = RANK - 1; axis >= 0; --axis) {
    from += (i64)(rest % sizes[axis]) * steps[axis];
    rest /= sizes[axis];
  }
  T values[V];
  load<V, V>(x + from, values);
  store<V, V>(out + (u64)number * V, values);
}

// out[...] = part from `firsts` on, zeros around it. Axes and steps as above; `sizes`
// are those of the part, `extents` those of the result.
template <int V, int RANK, class T>
__device__ __forceinline__ void put_part(T* out, const T* part,
                                         const u32 (&extents)[RANK],
                                         const i64 (&firsts)[RANK],
                                         const i64 (&sizes)[RANK],
                                         const i64 (&steps)[RANK], u32 total) {
  const u32 number = blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= total) return;
  u32 rest = number;
  i64 from = 0;
  bool inside = true;
#pragma unroll
  for (int axis = RANK - 1; axis >= 0; --axis) {
    const i64 at = (i64)(rest % extents[axis]) - firsts[axis];
    rest /= extents[axis];
    inside = inside && at >= 0 && at < sizes[axis];
    from += at * steps[axis];
  }
  T values[V] = {};
  if (inside) load<V, V>(part + from, values);
  store<V, V>(out + (u64)number * V, values);
}
