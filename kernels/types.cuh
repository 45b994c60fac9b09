// Element types as they lie in memory, and the types in which they are computed.
//
// float16 and bfloat16 are computed in f32, bool in bool, every other type in itself.
// widen() leads from memory to computation, narrow<T>() back. No header is included:
// NVRTC has no stdint.h, and CUDA's own headers may not be installed.
#pragma once

typedef signed char i8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

struct b8 {
  u8 bits;
};

struct f16 {
  u16 bits;
};

struct bf16 {
  u16 bits;
};

// An aggregate, so that it can lie in shared memory.
template <class T>
struct alignas(2 * sizeof(T)) Complex {
  T re, im;
};

typedef Complex<f32> c64;
typedef Complex<f64> c128;

// The bytes of one value as another type of the same size.
template <class To, class From>
__device__ __forceinline__ To bit_cast(const From& value) {
  static_assert(sizeof(To) == sizeof(From), "bit_cast between sizes");
  To result;
  memcpy(&result, &value, sizeof(To));
  return result;
}

#define INF_F32 bit_cast<f32>(0x7f800000u)
#define NAN_F32 bit_cast<f32>(0x7fc00000u)
#define INF_F64 bit_cast<f64>(0x7ff0000000000000ull)
#define NAN_F64 bit_cast<f64>(0x7ff8000000000000ull)

template <class T>
struct Real;
template <>
struct Real<f32> {
  static __device__ __forceinline__ f32 inf() { return INF_F32; }
  static __device__ __forceinline__ f32 nan() { return NAN_F32; }
};
template <>
struct Real<f64> {
  static __device__ __forceinline__ f64 inf() { return INF_F64; }
  static __device__ __forceinline__ f64 nan() { return NAN_F64; }
};

// --- half types -------------------------------------------------------------------

__device__ __forceinline__ f32 widen(f16 x) {
#ifdef __CUDA_ARCH__
  f32 result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(x.bits));
  return result;
#else
  return (f32)bit_cast<_Float16>(x.bits);
#endif
}

__device__ __forceinline__ f32 widen(bf16 x) { return bit_cast<f32>((u32)x.bits << 16); }

__device__ __forceinline__ f16 round_f16(f32 x) {
#ifdef __CUDA_ARCH__
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  return f16{bit_cast<u16>((_Float16)x)};
#endif
}

// Straight from f64: by way of f32 some values would be rounded twice.
__device__ __forceinline__ f16 round_f16(f64 x) {
#ifdef __CUDA_ARCH__
  f16 result;
  asm("cvt.rn.f16.f64 %0, %1;" : "=h"(result.bits) : "d"(x));
  return result;
#else
  return f16{bit_cast<u16>((_Float16)x)};
#endif
}

__device__ __forceinline__ bf16 round_bf16(f32 x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
#else
  const u32 bits = bit_cast<u32>(x);
  if (x != x) return bf16{(u16)((bits >> 16) | 0x40u)};
  return bf16{(u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

// f32 by rounding to odd first, which keeps the second rounding exact.
__device__ __forceinline__ bf16 round_bf16(f64 x) {
  f32 near = (f32)x;
  const u32 bits = bit_cast<u32>(near);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  if (finite && (f64)near != x && (bits & 1u) == 0u) {
    const bool up = near < 0 ? (f64)near < x : (f64)near > x;
    near = bit_cast<f32>(up ? bits - 1u : bits + 1u);
  }
  return round_bf16(near);
}

// --- memory to computation and back -----------------------------------------------

__device__ __forceinline__ bool widen(b8 x) { return x.bits != 0; }

template <class T>
__device__ __forceinline__ T widen(T x) {
  return x;
}

template <class T>
struct Narrow {
  template <class From>
  static __device__ __forceinline__ T of(From x) {
    return x;
  }
};
template <>
struct Narrow<f16> {
  template <class From>
  static __device__ __forceinline__ f16 of(From x) {
    return round_f16(x);
  }
};
template <>
struct Narrow<bf16> {
  template <class From>
  static __device__ __forceinline__ bf16 of(From x) {
    return round_bf16(x);
  }
};
template <>
struct Narrow<b8> {
  static __device__ __forceinline__ b8 of(bool x) { return b8{(u8)(x ? 1 : 0)}; }
};

template <class T, class From>
__device__ __forceinline__ T narrow(From x) {
  return Narrow<T>::of(x);
}

// --- casts that C leaves open -----------------------------------------------------

// Out of range a float wraps around in the narrow types, as on x86-64.
template <class To, class From>
__device__ __forceinline__ To truncated(From x) {
  if (sizeof(To) < 4) return (To)(i32)x;
  if (sizeof(To) == 4 && (To)-1 > (To)0) return (To)(i64)x;
  if (sizeof(To) == 8 && (To)-1 > (To)0 && x < (From)0) return (To)(i64)x;
  return (To)x;
}
