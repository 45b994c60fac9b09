// Rows by index: gathering them, sorting them by their place, and folding those that
// have one place. A row is `width` elements; rows, places and their numbers are u32.
#pragma once
#include "index.cuh"
#include "reduce.cuh"
#include "types.cuh"

// --- places -----------------------------------------------------------------------

// The place of an index vector of DEPTH axes, in row-major order; `none` outside.
template <int DEPTH>
struct Extents {
  i64 of[DEPTH ? DEPTH : 1];

  template <class I>
  __device__ __forceinline__ u32 place(const I* vector, u32 none) const {
    i64 flat = 0;
    bool inside = true;
#pragma unroll
    for (int axis = 0; axis < DEPTH; ++axis) {
      const i64 i = (i64)vector[axis];
      inside = inside && i >= 0 && i < of[axis];
      flat = flat * of[axis] + i;
    }
    return inside ? (u32)flat : none;
  }
};

// --- gather -----------------------------------------------------------------------

// out[batch][before][m][width] = table[batch][before][n][width] at index[batch][m], in
// runs of V elements. What is out of range gives zeros, as TensorFlow's GPU kernel does.
template <int V, int W, int DEPTH, class T, class I>
__device__ __forceinline__ void gather_rows(T* out, const T* table, const I* index,
                                            Extents<DEPTH> extents, u64 before, u64 n,
                                            u64 m, u64 runs, u64 total) {
  const u64 number = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= total) return;
  const u64 run = number % runs, row = number / runs;
  const u64 which = row % m, outer = row / m, batch = outer / before;
  const u32 place = extents.place(index + (batch * m + which) * DEPTH, ~0u);
  T values[V] = {};
  if (place != ~0u) {
    load<V, W>(table + ((outer * n + place) * runs + run) * V, values);
  }
  store<V, W>(out + number * V, values);
}

// --- a stable sort of places, four bits a pass --------------------------------------

constexpr int SORT_THREADS = 256, SORT_EACH = 8, SORT_DIGITS = 16;
constexpr u32 SORT_TILE = SORT_THREADS * SORT_EACH;

// A kernel's shared memory; each uses what it needs.
struct SortShared {
  u32 counts[SORT_DIGITS][SORT_THREADS], scan[SORT_THREADS], begins[SORT_DIGITS];
};

template <int DEPTH, class I>
__device__ __forceinline__ void make_places(u32* keys, u32* order, const I* index,
                                            Extents<DEPTH> extents, u32 m, u32 none) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= m) return;
  keys[i] = extents.place(index + (u64)i * DEPTH, none);
  order[i] = i;
}

// The sum of what the threads before have; `total` is that of all. All must arrive.
__device__ __forceinline__ u32 scan_block(u32 x, u32* shared, u32& total) {
  const u32 t = threadIdx.x;
  __syncthreads();
  shared[t] = x;
  __syncthreads();
#pragma unroll
  for (u32 step = 1; step < SORT_THREADS; step *= 2) {
    const u32 left = t >= step ? shared[t - step] : 0;
    __syncthreads();
    shared[t] += left;
    __syncthreads();
  }
  total = shared[SORT_THREADS - 1];
  return shared[t] - x;
}

// How often each digit stands in the tile of this thread: a column of `counts`.
__device__ __forceinline__ void count_digits(u32 (*counts)[SORT_THREADS],
                                             const u32* keys, u32 m, int shift) {
  const u32 t = threadIdx.x, first = blockIdx.x * SORT_TILE + t * SORT_EACH;
#pragma unroll
  for (int digit = 0; digit < SORT_DIGITS; ++digit) counts[digit][t] = 0;
  for (u32 i = first; i < first + SORT_EACH && i < m; ++i) {
    ++counts[keys[i] >> shift & (SORT_DIGITS - 1)][t];
  }
}

// Pass, first part: histogram[digit][block].
__device__ __forceinline__ void sort_count(u32* histogram, const u32* keys, u32 m,
                                           int shift, SortShared& shared) {
  auto& counts = shared.counts;
  count_digits(counts, keys, m, shift);
  __syncthreads();
  if (threadIdx.x < SORT_DIGITS) {
    u32 sum = 0;
    for (int t = 0; t < SORT_THREADS; ++t) sum += counts[threadIdx.x][t];
    histogram[threadIdx.x * gridDim.x + blockIdx.x] = sum;
  }
}

// Second part, one block: the histogram becomes where each digit of a block begins.
__device__ __forceinline__ void sort_scan(u32* histogram, u32 size, SortShared& shared) {
  u32 carry = 0;
  for (u32 start = 0; start < size; start += SORT_THREADS) {
    const u32 i = start + threadIdx.x;
    const u32 x = i < size ? histogram[i] : 0;
    u32 total;
    const u32 before = scan_block(x, shared.scan, total);
    if (i < size) histogram[i] = carry + before;
    carry += total;
  }
}

// Third part: every key goes behind the equal digits before it.
__device__ __forceinline__ void sort_place(u32* keys_to, u32* order_to, const u32* keys,
                                           const u32* order, const u32* histogram,
                                           u32 m, int shift, SortShared& shared) {
  auto& counts = shared.counts;
  u32* begins = shared.begins;
  const u32 t = threadIdx.x;
  count_digits(counts, keys, m, shift);
  __syncthreads();
  // In the order of digits, then of threads: SORT_DIGITS entries a thread.
  u32* mine = &counts[0][0] + t * SORT_DIGITS;
  u32 sum = 0;
  for (int k = 0; k < SORT_DIGITS; ++k) sum += mine[k];
  u32 total;
  u32 before = scan_block(sum, shared.scan, total);
  for (int k = 0; k < SORT_DIGITS; ++k) {
    const u32 count = mine[k];
    mine[k] = before;
    before += count;
  }
  __syncthreads();
  if (t < SORT_DIGITS) begins[t] = counts[t][0];
  __syncthreads();
  const u32 first = blockIdx.x * SORT_TILE + t * SORT_EACH;
  for (u32 i = first; i < first + SORT_EACH && i < m; ++i) {
    const u32 key = keys[i], digit = key >> shift & (SORT_DIGITS - 1);
    const u32 rank = counts[digit][t]++ - begins[digit];
    const u32 to = histogram[digit * gridDim.x + blockIdx.x] + rank;
    keys_to[to] = key;
    order_to[to] = order[i];
  }
}

// --- folds of rows that have one place ----------------------------------------------

// The first of m sorted keys that is not below `key`.
__device__ __forceinline__ u32 lower_bound(const u32* keys, u32 m, u32 key) {
  u32 low = 0, high = m;
  while (low < high) {
    const u32 middle = low + (high - low) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

constexpr int FOLD_COLUMNS = 32, FOLD_LANES = 8;

template <class C>
struct FoldShared {
  C lanes[FOLD_LANES][FOLD_COLUMNS];
  bool some[FOLD_LANES];
};

// How a fold of rows meets what was at their place.
struct MeetJoin {
  template <class Op, class C>
  static __device__ __forceinline__ C of(C before, C rows, u32) {
    return Op::of(before, rows);
  }
};
struct MeetSubtract {
  template <class Op, class C>
  static __device__ __forceinline__ C of(C before, C rows, u32) {
    return wrap_sub(before, rows);
  }
};
struct MeetDivide {
  template <class Op, class C>
  static __device__ __forceinline__ C of(C before, C rows, u32) {
    return before / rows;
  }
};
struct MeetMean {
  template <class Op, class C>
  static __device__ __forceinline__ C of(C, C rows, u32 count) {
    return (C)(rows / (C)count);
  }
};
struct MeetLast {
  template <class Op, class C>
  static __device__ __forceinline__ C of(C, C rows, u32) {
    return rows;
  }
};
// Among equal places the later row wins.
struct JoinLast {
  template <class T>
  static __device__ __forceinline__ T of(T, T b) {
    return b;
  }
};

// A block makes FOLD_COLUMNS elements of a row of `out`: that of place blockIdx.x, or,
// with EACH, that of the row which came to blockIdx.x when they were sorted. The lanes take every FOLD_LANES'th row in the order in which they came, and join in
// order, so that the result never depends on timing. The row's own place before is
// `base`, or `empty` where base is null.
template <class Op, class Meet, class T, class C, bool EACH>
__device__ __forceinline__ void fold_rows(T* out, const T* base, const T* rows,
                                          const u32* keys, const u32* order, u32 m,
                                          u64 width, C empty,
                                          FoldShared<C>& shared) {
  auto& lanes = shared.lanes;
  bool* some = shared.some;
  const u64 place = EACH ? keys[blockIdx.x] : blockIdx.x;
  const u64 to = EACH ? order[blockIdx.x] : place;
  const u32 low = lower_bound(keys, m, (u32)place);
  const u32 high = lower_bound(keys, m, (u32)place + 1);
  const u64 column = (u64)blockIdx.y * FOLD_COLUMNS + threadIdx.x;
  const bool active = column < width;
  // In order: lane 0 the first rows, lane 1 the next ones.
  const u32 share = (high - low + FOLD_LANES - 1) / FOLD_LANES;
  u32 at = low + threadIdx.y * share;
  const u32 end = at + share < high ? at + share : high;
  const bool any = at < end;
  C value = empty;
  if (any && active) {
    value = (C)widen(rows[(u64)order[at] * width + column]);
    while (++at < end) {
      value = Op::of(value, (C)widen(rows[(u64)order[at] * width + column]));
    }
  }
  lanes[threadIdx.y][threadIdx.x] = value;
  if (threadIdx.x == 0) some[threadIdx.y] = any;
  __syncthreads();
  if (threadIdx.y != 0) return;
  if (!active) return;
  C result = base ? (C)widen(base[place * width + column]) : empty;
  if (any) {
#pragma unroll
    for (int lane = 1; lane < FOLD_LANES; ++lane) {
      if (some[lane]) value = Op::of(value, lanes[lane][threadIdx.x]);
    }
    result = Meet::template of<Op, C>(result, value, high - low);
  }
  out[to * width + column] = narrow<T>(result);
}

// --- sums in any order ----------------------------------------------------------------

// The start of such sums: `base`, or `empty` where it is null.
template <class T>
__device__ __forceinline__ void start_rows(T* out, const T* base, T empty, u64 size) {
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < size) out[i] = base ? base[i] : empty;
}

// An element a thread; T is a type that atomicAdd takes. SIGN is 1 or -1.
template <int SIGN, int DEPTH, class T, class I>
__device__ __forceinline__ void add_rows(T* out, const T* rows, const I* index,
                                         Extents<DEPTH> extents, u64 width, u64 size) {
  const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  const u32 place = extents.place(index + i / width * DEPTH, ~0u);
  if (place == ~0u) return;
  const T value = SIGN > 0 ? rows[i] : (T)(0 - rows[i]);
  atomicAdd(out + (u64)place * width + i % width, value);
}
