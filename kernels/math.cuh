// Scalar functions that C lacks, or leaves open where NumPy says what happens.
#pragma once
#include "types.cuh"

// --- integers ---------------------------------------------------------------------
// Sums and products wrap around: signed overflow is undefined in C, so they are formed
// in an unsigned type. Other types add and multiply as they are.

template <class T>
struct Wrapping {
  typedef T type;
};
template <>
struct Wrapping<i8> {
  typedef u32 type;
};
template <>
struct Wrapping<i16> {
  typedef u32 type;
};
template <>
struct Wrapping<i32> {
  typedef u32 type;
};
template <>
struct Wrapping<i64> {
  typedef u64 type;
};
template <>
struct Wrapping<u8> {
  typedef u32 type;
};
template <>
struct Wrapping<u16> {
  typedef u32 type;
};

template <class T>
__device__ __forceinline__ T wrap_add(T a, T b) {
  typedef typename Wrapping<T>::type wide;
  return (T)((wide)a + (wide)b);
}

template <class T>
__device__ __forceinline__ T wrap_sub(T a, T b) {
  typedef typename Wrapping<T>::type wide;
  return (T)((wide)a - (wide)b);
}

template <class T>
__device__ __forceinline__ T wrap_mul(T a, T b) {
  typedef typename Wrapping<T>::type wide;
  return (T)((wide)a * (wide)b);
}

template <class T>
__device__ __forceinline__ T wrap_neg(T a) {
  return wrap_sub((T)0, a);
}

// Division by zero gives 0; the CPU raises an error there, a kernel cannot.
template <class T>
__device__ __forceinline__ T trunc_div(T a, T b) {
  if (b == (T)0) return (T)0;
  if ((T)-1 < (T)0 && b == (T)-1) return wrap_neg(a);  // the least integer overflows
  return (T)(a / b);
}

template <class T>
__device__ __forceinline__ T trunc_mod(T a, T b) {
  if (b == (T)0) return (T)0;
  if ((T)-1 < (T)0 && b == (T)-1) return (T)0;
  return (T)(a % b);
}

template <class T>
__device__ __forceinline__ T floor_div(T a, T b) {
  const T quotient = trunc_div(a, b);
  const bool inexact = trunc_mod(a, b) != (T)0;
  return (T)(quotient - (inexact && (a < (T)0) != (b < (T)0) ? 1 : 0));
}

template <class T>
__device__ __forceinline__ T floor_mod(T a, T b) {
  const T rest = trunc_mod(a, b);
  return (T)(rest + (rest != (T)0 && (a < (T)0) != (b < (T)0) ? b : (T)0));
}

// To a negative power every integer but 1 and -1 is 0.
template <class T>
__device__ __forceinline__ T integer_pow(T base, T exponent) {
  if (exponent < (T)0) {
    if (base == (T)1) return (T)1;
    if (base == (T)-1) return (exponent & (T)1) ? (T)-1 : (T)1;
    return (T)0;
  }
  T result = (T)1;
  while (exponent != (T)0) {
    if (exponent & (T)1) result = wrap_mul(result, base);
    base = wrap_mul(base, base);
    exponent = (T)(exponent >> 1);
  }
  return result;
}

// By the width or more every bit is shifted out; a negative count is such a count.
template <class T>
__device__ __forceinline__ T shift_left(T a, T count) {
  typedef typename Wrapping<T>::type wide;
  return (u64)count < 8 * sizeof(T) ? (T)((wide)a << (u32)count) : (T)0;
}

template <class T>
__device__ __forceinline__ T shift_right(T a, T count) {
  if ((u64)count < 8 * sizeof(T)) return (T)(a >> (u32)count);
  return a < (T)0 ? (T)-1 : (T)0;
}

// --- any real type ----------------------------------------------------------------

// NaN if either is; fmax would drop it.
template <class T>
__device__ __forceinline__ T maximum(T a, T b) {
  return (a > b || a != a) ? a : b;
}

template <class T>
__device__ __forceinline__ T minimum(T a, T b) {
  return (a < b || a != a) ? a : b;
}

template <class T>
__device__ __forceinline__ T sign(T x) {
  return x > (T)0 ? (T)1 : x < (T)0 ? (T)-1 : x == (T)0 ? (T)0 : x;
}

template <class T>
__device__ __forceinline__ T integer_reciprocal(T x) {
  return trunc_div((T)1, x);
}

template <class T>
__device__ __forceinline__ T integer_abs(T x) {
  return x < (T)0 ? wrap_neg(x) : x;
}

// The rest has the divisor's sign.
template <class T>
__device__ __forceinline__ T floor_mod_real(T a, T b) {
  const T rest = fmod(a, b);
  if (rest == (T)0) return copysign((T)0, b);
  return (b < (T)0) != (rest < (T)0) ? rest + b : rest;
}

// nextafter among the values of a half type H, which are computed in f32.
template <class H>
__device__ __forceinline__ f32 next_half(f32 from, f32 to) {
  if (from != from || to != to) return NAN_F32;
  if (from == to) return to;
  H result;
  if (from == 0) {
    result.bits = (u16)(to > 0 ? 0x0001u : 0x8001u);
  } else {
    const u16 bits = narrow<H>(from).bits;
    result.bits = (u16)((from < to) == (from > 0) ? bits + 1u : bits - 1u);
  }
  return widen(result);
}
