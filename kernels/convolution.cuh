// Convolutions and both of their gradients as matrix products whose left side is read
// through the window (implicit GEMM), channels last.
//
// G gives the constants: batch, groups, inner and outer channels a group, and for every
// spatial axis size, positions, window, stride, dilation and pad (before). blockIdx.z is
// the group, and the part of a split sum. Sums are in C, in an order that the shape alone
// decides.
#pragma once
#include "math.cuh"
#include "reduce.cuh"
#include "types.cuh"

constexpr int TILE = 64, TILE_K = 16, TILE_THREADS = 256, EACH = 4;

// The cell of the input that tap (t0, t1, ...) of position (p0, p1, ...) sees.
template <class G>
struct Grid {
  static __device__ __forceinline__ constexpr u64 positions() {
    u64 n = 1;
    for (int a = 0; a < G::rank; ++a) n *= G::positions(a);
    return n;
  }
  static __device__ __forceinline__ constexpr u64 cells() {
    u64 n = 1;
    for (int a = 0; a < G::rank; ++a) n *= G::size(a);
    return n;
  }
  static __device__ __forceinline__ constexpr u64 taps() {
    u64 n = 1;
    for (int a = 0; a < G::rank; ++a) n *= G::window(a);
    return n;
  }

  // Number of the cell, or -1 outside.
  static __device__ __forceinline__ i64 cell(u32 position, u32 tap) {
    i64 flat = 0, step = 1;
    bool inside = true;
#pragma unroll
    for (int a = G::rank - 1; a >= 0; --a) {
      const i32 p = position % G::positions(a), t = tap % G::window(a);
      position /= G::positions(a), tap /= G::window(a);
      const i32 i = p * G::stride(a) + t * G::dilation(a) - G::pad(a);
      inside = inside && i >= 0 && i < (i32)G::size(a);
      flat += i * step;
      step *= G::size(a);
    }
    return inside ? flat : -1;
  }

  // Number of the position whose tap sees the cell, or -1 if there is none.
  static __device__ __forceinline__ i64 position(u32 cell, u32 tap) {
    i64 flat = 0, step = 1;
    bool inside = true;
#pragma unroll
    for (int a = G::rank - 1; a >= 0; --a) {
      const i32 i = cell % G::size(a), t = tap % G::window(a);
      cell /= G::size(a), tap /= G::window(a);
      const i32 shifted = i + G::pad(a) - t * G::dilation(a);
      const i32 p = shifted / G::stride(a);
      inside = inside && shifted >= 0 && p * G::stride(a) == shifted &&
               p < (i32)G::positions(a);
      flat += p * step;
      step *= G::positions(a);
    }
    return inside ? flat : -1;
  }
};

// y[place, n] = sum over (tap, c) of x[cell(place, tap), c] w[tap, c, n]
template <class G, class T, class C>
struct Forward {
  const T *x, *w;
  T* y;
  static constexpr bool a_along_k = true, b_along_k = false;
  static __device__ constexpr u64 rows() { return G::batch * Grid<G>::positions(); }
  static __device__ constexpr u64 columns() { return G::outer; }
  static __device__ constexpr u64 depth() { return Grid<G>::taps() * G::inner; }

  __device__ __forceinline__ C a(u64 m, u64 k, u32 group) const {
    constexpr u64 places = Grid<G>::positions();
    const i64 cell = Grid<G>::cell((u32)(m % places), (u32)(k / G::inner));
    if (cell < 0) return C(0);
    const u64 pixel = m / places * Grid<G>::cells() + (u64)cell;
    return (C)widen(x[pixel * (G::groups * G::inner) + group * G::inner + k % G::inner]);
  }
  __device__ __forceinline__ C b(u64 k, u64 n, u32 group) const {
    return (C)widen(w[k * (G::groups * G::outer) + group * G::outer + n]);
  }
  __device__ __forceinline__ void put(u64 m, u64 n, u32 group, C value) const {
    y[m * (G::groups * G::outer) + group * G::outer + n] = narrow<T>(value);
  }
};

// dx[cell, c] = sum over (tap, n) of dy[position(cell, tap), n] w[tap, c, n]
template <class G, class T, class C>
struct ToInput {
  const T *w, *dy;
  T* dx;
  static constexpr bool a_along_k = true, b_along_k = true;
  static __device__ constexpr u64 rows() { return G::batch * Grid<G>::cells(); }
  static __device__ constexpr u64 columns() { return G::inner; }
  static __device__ constexpr u64 depth() { return Grid<G>::taps() * G::outer; }

  __device__ __forceinline__ C a(u64 m, u64 k, u32 group) const {
    constexpr u64 cells = Grid<G>::cells();
    const i64 position = Grid<G>::position((u32)(m % cells), (u32)(k / G::outer));
    if (position < 0) return C(0);
    const u64 place = m / cells * Grid<G>::positions() + (u64)position;
    return (C)widen(dy[place * (G::groups * G::outer) + group * G::outer + k % G::outer]);
  }
  __device__ __forceinline__ C b(u64 k, u64 n, u32 group) const {
    const u64 row = k / G::outer * G::inner + n;
    return (C)widen(w[row * (G::groups * G::outer) + group * G::outer + k % G::outer]);
  }
  __device__ __forceinline__ void put(u64 m, u64 n, u32 group, C value) const {
    dx[m * (G::groups * G::inner) + group * G::inner + n] = narrow<T>(value);
  }
};

// dw[tap, c, n] = sum over places of x[cell(place, tap), c] dy[place, n]
template <class G, class T, class C>
struct ToFilter {
  const T *x, *dy;
  T* dw;
  static constexpr bool a_along_k = false, b_along_k = false;
  static __device__ constexpr u64 rows() { return Grid<G>::taps() * G::inner; }
  static __device__ constexpr u64 columns() { return G::outer; }
  static __device__ constexpr u64 depth() { return G::batch * Grid<G>::positions(); }

  __device__ __forceinline__ C a(u64 m, u64 k, u32 group) const {
    constexpr u64 places = Grid<G>::positions();
    const i64 cell = Grid<G>::cell((u32)(k % places), (u32)(m / G::inner));
    if (cell < 0) return C(0);
    const u64 pixel = k / places * Grid<G>::cells() + (u64)cell;
    return (C)widen(x[pixel * (G::groups * G::inner) + group * G::inner + m % G::inner]);
  }
  __device__ __forceinline__ C b(u64 k, u64 n, u32 group) const {
    return (C)widen(dy[k * (G::groups * G::outer) + group * G::outer + n]);
  }
  __device__ __forceinline__ void put(u64 m, u64 n, u32 group, C value) const {
    dw[m * (G::groups * G::outer) + group * G::outer + n] = narrow<T>(value);
  }
};

template <class C>
struct TileShared {
  C left[TILE_K][TILE + 1], right[TILE_K][TILE + 1];
};

// One TILE x TILE tile of the product; a thread makes EACH x EACH elements of it. With
// SPLITS > 1 the sums of a part of the depth go to `partial` [split][group][m][n].
template <int SPLITS, class P, class C>
__device__ __forceinline__ void product_tile(const P product, C* partial, u32 groups,
                                             TileShared<C>& shared) {
  auto &left = shared.left, &right = shared.right;
  constexpr u64 rows = P::rows(), columns = P::columns(), depth = P::depth();
  constexpr u64 part = ((depth + SPLITS - 1) / SPLITS + TILE_K - 1) / TILE_K * TILE_K;
  const u32 t = threadIdx.x, group = blockIdx.z % groups, split = blockIdx.z / groups;
  const u64 m0 = (u64)blockIdx.x * TILE, n0 = (u64)blockIdx.y * TILE;
  const u64 begin = split * part, end = begin + part < depth ? begin + part : depth;
  C sums[EACH][EACH] = {};
  for (u64 k0 = begin; k0 < end; k0 += TILE_K) {
#pragma unroll
    for (int i = 0; i < TILE * TILE_K / TILE_THREADS; ++i) {
      const u32 number = t + i * TILE_THREADS;
      {
        const u32 k = P::a_along_k ? number % TILE_K : number / TILE;
        const u32 m = P::a_along_k ? number / TILE_K : number % TILE;
        const bool inside = k0 + k < end && m0 + m < rows;
        left[k][m] = inside ? product.a(m0 + m, k0 + k, group) : C(0);
      }
      const u32 k = P::b_along_k ? number % TILE_K : number / TILE;
      const u32 n = P::b_along_k ? number / TILE_K : number % TILE;
      const bool inside = k0 + k < end && n0 + n < columns;
      right[k][n] = inside ? product.b(k0 + k, n0 + n, group) : C(0);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < TILE_K; ++k) {
      C a[EACH], b[EACH];
#pragma unroll
      for (int i = 0; i < EACH; ++i) a[i] = left[k][t / 16 + 16 * i];
#pragma unroll
      for (int j = 0; j < EACH; ++j) b[j] = right[k][t % 16 + 16 * j];
#pragma unroll
      for (int i = 0; i < EACH; ++i)
#pragma unroll
        for (int j = 0; j < EACH; ++j)
          sums[i][j] = wrap_add(sums[i][j], wrap_mul(a[i], b[j]));
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
#pragma unroll
    for (int j = 0; j < EACH; ++j) {
      const u64 m = m0 + t / 16 + 16 * i, n = n0 + t % 16 + 16 * j;
      if (m >= rows || n >= columns) continue;
      if (SPLITS == 1) {
        product.put(m, n, group, sums[i][j]);
      } else {
        partial[((split * groups + group) * rows + m) * columns + n] = sums[i][j];
      }
    }
  }
}

// The parts of a split sum, in order.
template <int SPLITS, class P, class C>
__device__ __forceinline__ void join_parts(const P product, const C* partial, u32 groups) {
  constexpr u64 rows = P::rows(), columns = P::columns();
  const u64 number = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  const u64 size = groups * rows * columns;
  if (number >= size) return;
  C sum = partial[number];
  for (int split = 1; split < SPLITS; ++split) {
    sum = wrap_add(sum, partial[split * size + number]);
  }
  const u32 group = (u32)(number / (rows * columns));
  product.put(number / columns % rows, number % columns, group, sum);
}

// --- one filter a channel: G::groups channels, G::outer filters each ------------------

template <class G, class T, class C>
__device__ __forceinline__ void depthwise_forward(T* y, const T* x, const T* w) {
  constexpr u64 places = Grid<G>::positions(), channels = G::groups;
  const u64 number = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= G::batch * places * channels * G::outer) return;
  const u64 filter = number % (channels * G::outer), channel = filter / G::outer;
  const u64 place = number / (channels * G::outer);
  C sum = C(0);
  for (u32 tap = 0; tap < Grid<G>::taps(); ++tap) {
    const i64 cell = Grid<G>::cell((u32)(place % places), tap);
    if (cell < 0) continue;
    const u64 pixel = place / places * Grid<G>::cells() + (u64)cell;
    const C seen = (C)widen(x[pixel * channels + channel]);
    const C weight = (C)widen(w[tap * (channels * G::outer) + filter]);
    sum = wrap_add(sum, wrap_mul(seen, weight));
  }
  y[number] = narrow<T>(sum);
}

template <class G, class T, class C>
__device__ __forceinline__ void depthwise_to_input(T* dx, const T* w, const T* dy) {
  constexpr u64 cells = Grid<G>::cells(), channels = G::groups;
  const u64 number = (u64)blockIdx.x * blockDim.x + threadIdx.x;
  if (number >= G::batch * cells * channels) return;
  const u64 channel = number % channels, pixel = number / channels;
  C sum = C(0);
  for (u32 tap = 0; tap < Grid<G>::taps(); ++tap) {
    const i64 position = Grid<G>::position((u32)(pixel % cells), tap);
    if (position < 0) continue;
    const u64 place = pixel / cells * Grid<G>::positions() + (u64)position;
    for (u64 k = 0; k < G::outer; ++k) {
      const u64 filter = channel * G::outer + k;
      const C slope = (C)widen(dy[place * (channels * G::outer) + filter]);
      const C weight = (C)widen(w[tap * (channels * G::outer) + filter]);
      sum = wrap_add(sum, wrap_mul(slope, weight));
    }
  }
  dx[number] = narrow<T>(sum);
}

// A block makes one element of the filter: its threads walk over the places.
template <class G, class T, class C>
__device__ __forceinline__ void depthwise_to_filter(T* dw, const T* x, const T* dy,
                                                    C* shared) {
  constexpr u64 places = Grid<G>::positions(), channels = G::groups;
  const u64 filter = blockIdx.x % (channels * G::outer), channel = filter / G::outer;
  const u32 tap = (u32)(blockIdx.x / (channels * G::outer));
  C sum = C(0);
  for (u64 place = threadIdx.x; place < G::batch * places; place += TILE_THREADS) {
    const i64 cell = Grid<G>::cell((u32)(place % places), tap);
    if (cell < 0) continue;
    const u64 pixel = place / places * Grid<G>::cells() + (u64)cell;
    const C seen = (C)widen(x[pixel * channels + channel]);
    const C slope = (C)widen(dy[place * (channels * G::outer) + filter]);
    sum = wrap_add(sum, wrap_mul(seen, slope));
  }
  fold_to_shared<JoinSum>(sum, shared);
  __syncthreads();
  sum = fold_shared<JoinSum, TILE_THREADS / 32>(shared);
  if (threadIdx.x == 0) dw[blockIdx.x] = narrow<T>(sum);
}
