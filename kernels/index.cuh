// Runs of V elements between memory and registers, W elements an access.
//
// Where W elements fill 4, 8 or 16 bytes, the access is one instruction of that width;
// the address must be a multiple of it. Structs of small elements compile to narrow
// loads, so the words are read whole and their bytes are copied in registers.
#pragma once
#include "types.cuh"

template <int bytes>
struct Word;
template <>
struct Word<4> {
  typedef u32 type;
};
template <>
struct Word<8> {
  typedef uint2 type;
};
template <>
struct Word<16> {
  typedef uint4 type;
};

template <class W>
__device__ __forceinline__ void store_word(W* to, W bits) {
  *to = bits;
}

// In assembly: the compiler takes a word apart that was put together from two of 8
// bytes, and stores them one by one. No kernel reads what it has written, so that
// nothing has to be told of the memory.
__device__ __forceinline__ void store_word(uint4* to, uint4 bits) {
#ifdef __CUDA_ARCH__
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};"
               :
               : "l"(to), "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w));
#else
  *to = bits;
#endif
}

template <class T, int V, int W, bool whole>
struct Run {
  typedef typename Word<W * sizeof(T)>::type word;

  static __device__ __forceinline__ void load(const T* from, T* to) {
#pragma unroll
    for (int k = 0; k < V / W; ++k) {
      const word bits = reinterpret_cast<const word*>(from)[k];
      memcpy(to + k * W, &bits, sizeof(word));
    }
  }

  static __device__ __forceinline__ void store(T* to, const T* from) {
#pragma unroll
    for (int k = 0; k < V / W; ++k) {
      word bits;
      memcpy(&bits, from + k * W, sizeof(word));
      store_word(reinterpret_cast<word*>(to) + k, bits);
    }
  }
};

template <class T, int V, int W>
struct Run<T, V, W, false> {
  static __device__ __forceinline__ void load(const T* from, T* to) {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = from[k];
  }

  static __device__ __forceinline__ void store(T* to, const T* from) {
#pragma unroll
    for (int k = 0; k < V; ++k) to[k] = from[k];
  }
};

// A single element of up to 8 bytes needs no word; complex128 is a word by itself.
template <class T, int W>
struct IsWord {
  static constexpr bool value =
      (W > 1 || sizeof(T) == 16) && (W * sizeof(T) == 4 || W * sizeof(T) == 8 ||
                                     W * sizeof(T) == 16);
};

template <int V, int W, class T>
__device__ __forceinline__ void load(const T* from, T* to) {
  Run<T, V, W, IsWord<T, W>::value>::load(from, to);
}

template <int V, int W, class T>
__device__ __forceinline__ void store(T* to, const T* from) {
  Run<T, V, W, IsWord<T, W>::value>::store(to, from);
}

// Elements a fixed step apart.
template <int V, class T, class I>
__device__ __forceinline__ void load_strided(const T* from, I step, T* to) {
#pragma unroll
  for (int k = 0; k < V; ++k) to[k] = from[k * step];
}

template <int V, class T, class I>
__device__ __forceinline__ void store_strided(T* to, I step, const T* from) {
#pragma unroll
  for (int k = 0; k < V; ++k) to[k * step] = from[k];
}
