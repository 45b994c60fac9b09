// Folding a value over the lanes of a row, a warp or a block, in a fixed order.
//
// Every thread of a warp (block) must arrive. Every lane gets the result. The order of
// the folds depends on the launch shape alone, so results repeat bit by bit.
#pragma once
#include "math.cuh"
#include "types.cuh"

struct JoinSum {
  template <class T>
  static __device__ __forceinline__ T of(T a, T b) {
    return wrap_add(a, b);
  }
};
struct JoinProduct {
  template <class T>
  static __device__ __forceinline__ T of(T a, T b) {
    return wrap_mul(a, b);
  }
};
struct JoinMaximum {
  template <class T>
  static __device__ __forceinline__ T of(T a, T b) {
    return maximum(a, b);
  }
};
struct JoinMinimum {
  template <class T>
  static __device__ __forceinline__ T of(T a, T b) {
    return minimum(a, b);
  }
};
struct JoinAll {
  static __device__ __forceinline__ bool of(bool a, bool b) { return a && b; }
};
struct JoinAny {
  static __device__ __forceinline__ bool of(bool a, bool b) { return a || b; }
};

__device__ __forceinline__ u32 shuffled(u32 x, int step) {
  return __shfl_xor_sync(0xffffffffu, x, step);
}

// The value that the lane `step` away has.
template <class T>
__device__ __forceinline__ T shuffle_xor(T x, int step) {
  constexpr int words = (sizeof(T) + 3) / 4;
  u32 bits[words] = {};
  memcpy(bits, &x, sizeof(T));
#pragma unroll
  for (int k = 0; k < words; ++k) bits[k] = shuffled(bits[k], step);
  T result;
  memcpy(&result, bits, sizeof(T));
  return result;
}

// Over groups of G neighbouring lanes; G is a power of two up to 32.
template <class Op, int G, class T>
__device__ __forceinline__ T fold_lanes(T x) {
#pragma unroll
  for (int step = G / 2; step > 0; step /= 2) x = Op::of(x, shuffle_xor(x, step));
  return x;
}

// Over a block of WARPS warps, in two steps with a barrier between them, so that several
// values need only one; `shared` has room for WARPS values of its own.
template <class Op, class T>
__device__ __forceinline__ void fold_to_shared(T x, T* shared) {
  x = fold_lanes<Op, 32>(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
}

template <class Op, int WARPS, class T>
__device__ __forceinline__ T fold_shared(const T* shared) {
  return fold_lanes<Op, WARPS>(shared[threadIdx.x % WARPS]);
}

// The same value as one that the compiler has not seen before: what is computed from
// it is then computed again, where keeping it would take too many registers.
template <class T>
__device__ __forceinline__ T apart(T x) {
  return x;
}
#ifdef __CUDA_ARCH__
__device__ __forceinline__ f32 apart(f32 x) {
  asm("" : "+f"(x));
  return x;
}
__device__ __forceinline__ f64 apart(f64 x) {
  asm("" : "+d"(x));
  return x;
}
#endif
