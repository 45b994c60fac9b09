// Prefixes along an axis: [outer, length, inner], a chunk of the axis at a time.
//
// Op has a State, which joins in order; `first` makes one of an element, `last` gives
// what is stored. Three kernels: the state of every chunk, the states before each chunk,
// and the prefixes. The order of the joins depends on the shape alone.
#pragma once
#include "math.cuh"
#include "reduce.cuh"
#include "types.cuh"

template <class Join, class C>
struct ScanOf {
  typedef C State;
  static __device__ __forceinline__ State join(State a, State b) {
    return Join::of(a, b);
  }
  static __device__ __forceinline__ C last(State a) { return a; }
};

struct JoinLogAddExp {
  template <class T>
  static __device__ __forceinline__ T of(T a, T b) {
    const T high = a > b ? a : b, low = a > b ? b : a;
    if (a != a || b != b) return a + b;
    if (high == low) return high + (T)0.69314718055994530942;  // two infinities too
    return high + log1p(exp(low - high));
  }
};

// z[k+1] = b[k] + a[k] z[k]: the maps z -> b + a z compose.
template <class C>
struct Affine {
  C a, b;
};
template <class C>
struct ScanAffine {
  typedef Affine<C> State;
  static __device__ __forceinline__ State join(State first, State then) {
    return State{wrap_mul(then.a, first.a), wrap_add(then.b, wrap_mul(then.a, first.b))};
  }
  static __device__ __forceinline__ C last(State s) { return s.b; }
};

struct Place {
  u64 start, step;
};

// Where column `number` of [outer, length, inner] begins, and its step, in the order of
// the scan.
__device__ __forceinline__ Place scan_column(u64 number, u64 length, u64 inner,
                                             bool reverse) {
  const u64 first = number / inner * length * inner + number % inner;
  return reverse ? Place{first + (length - 1) * inner, (u64)0 - inner}
                 : Place{first, inner};
}

// A thread walks `chunk` elements of one column. blockIdx.y is the chunk.
template <class Scan, class Element>
__device__ __forceinline__ void scan_chunks(typename Scan::State* states, Element element,
                                            u64 columns, u64 length, u64 inner, u64 chunk,
                                            bool reverse) {
  const u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const Place place = scan_column(column, length, inner, reverse);
  const u64 begin = blockIdx.y * chunk;
  const u64 end = begin + chunk < length ? begin + chunk : length;
  typename Scan::State state = element(place.start + begin * place.step);
  for (u64 k = begin + 1; k < end; ++k) {
    state = Scan::join(state, element(place.start + k * place.step));
  }
  states[blockIdx.y * columns + column] = state;
}

// states[chunk] becomes the join of all chunks up to it.
template <class Scan>
__device__ __forceinline__ void scan_carry(typename Scan::State* states, u64 columns,
                                           u64 chunks) {
  const u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  typename Scan::State state = states[column];
  for (u64 k = 1; k < chunks; ++k) {
    state = Scan::join(state, states[k * columns + column]);
    states[k * columns + column] = state;
  }
}

template <class Scan, class T, class C, class Element>
__device__ __forceinline__ void scan_write(T* out, const typename Scan::State* states,
                                           Element element, C start, u64 columns,
                                           u64 length, u64 inner, u64 chunk,
                                           bool exclusive, bool reverse) {
  const u64 column = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const Place place = scan_column(column, length, inner, reverse);
  const u64 begin = blockIdx.y * chunk;
  const u64 end = begin + chunk < length ? begin + chunk : length;
  typename Scan::State state{};
  bool some = blockIdx.y > 0;
  if (some) state = states[(blockIdx.y - 1) * columns + column];
  for (u64 k = begin; k < end; ++k) {
    const u64 at = place.start + k * place.step;
    const auto mine = element(at);
    if (exclusive) out[at] = narrow<T>(some ? Scan::last(state) : start);
    state = some ? Scan::join(state, mine) : mine;
    some = true;
    if (!exclusive) out[at] = narrow<T>(Scan::last(state));
  }
}
