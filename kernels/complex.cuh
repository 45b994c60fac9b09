// Complex numbers: arithmetic and elementary functions.
//
// Branch cuts and signs of zero after W. Kahan, "Branch cuts for complex elementary
// functions, or much ado about nothing's sign bit", 1987.
#pragma once
#include "math.cuh"
#include "types.cuh"

template <class T>
__device__ __forceinline__ Complex<T> make_complex(T re, T im) {
  return Complex<T>{re, im};
}

// --- arithmetic -------------------------------------------------------------------

template <class T>
__device__ __forceinline__ Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}

template <class T>
__device__ __forceinline__ Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}

template <class T>
__device__ __forceinline__ Complex<T> operator-(Complex<T> a) {
  return {-a.re, -a.im};
}

template <class T>
__device__ __forceinline__ Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

template <class T>
__device__ __forceinline__ Complex<T> scaled(Complex<T> a, T by) {
  return {a.re * by, a.im * by};
}

// R. Smith's division: no overflow where the quotient has none.
template <class T>
__device__ __forceinline__ Complex<T> operator/(Complex<T> a, Complex<T> b) {
  if (fabs(b.re) >= fabs(b.im)) {
    if (b.re == 0 && b.im == 0) return {a.re / fabs(b.re), a.im / fabs(b.re)};
    const T ratio = b.im / b.re;
    const T scale = 1 / (b.re + b.im * ratio);
    return {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
  }
  const T ratio = b.re / b.im;
  const T scale = 1 / (b.im + b.re * ratio);
  return {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
}

template <class T>
__device__ __forceinline__ bool operator==(Complex<T> a, Complex<T> b) {
  return a.re == b.re && a.im == b.im;
}

template <class T>
__device__ __forceinline__ bool operator!=(Complex<T> a, Complex<T> b) {
  return !(a == b);
}

template <class T>
__device__ __forceinline__ Complex<T> conj(Complex<T> a) {
  return {a.re, -a.im};
}

template <class T>
__device__ __forceinline__ T abs_of(Complex<T> a) {
  return hypot(a.re, a.im);
}

template <class T>
__device__ __forceinline__ Complex<T> sign_of(Complex<T> a) {
  if (a.re == 0 && a.im == 0) return {(T)0, (T)0};
  const T size = abs_of(a);
  return {a.re / size, a.im / size};
}

template <class T>
__device__ __forceinline__ Complex<T> reciprocal_of(Complex<T> a) {
  return Complex<T>{(T)1, (T)0} / a;
}

template <class T>
__device__ __forceinline__ bool isnan_of(Complex<T> a) {
  return a.re != a.re || a.im != a.im;
}

template <class T>
__device__ __forceinline__ bool isinf_of(Complex<T> a) {
  return fabs(a.re) == Real<T>::inf() || fabs(a.im) == Real<T>::inf();
}

template <class T>
__device__ __forceinline__ bool isfinite_of(Complex<T> a) {
  return fabs(a.re) < Real<T>::inf() && fabs(a.im) < Real<T>::inf();
}

// i z and z / i
template <class T>
__device__ __forceinline__ Complex<T> turned(Complex<T> a) {
  return {-a.im, a.re};
}

template <class T>
__device__ __forceinline__ Complex<T> turned_back(Complex<T> a) {
  return {a.im, -a.re};
}

// --- roots, exponential, logarithm ------------------------------------------------

template <class T>
__device__ __forceinline__ Complex<T> sqrt_of(Complex<T> a) {
  if (a.re == 0 && a.im == 0) return {(T)0, a.im};
  if (fabs(a.im) == Real<T>::inf()) return {Real<T>::inf(), a.im};
  if (a.re != a.re || a.im != a.im) return {Real<T>::nan(), Real<T>::nan()};
  if (fabs(a.re) == Real<T>::inf()) {
    if (a.re > 0) return {a.re, copysign((T)0, a.im)};
    return {(T)0, copysign(Real<T>::inf(), a.im)};
  }
  // A quarter and four times keep the sum below from overflow and from denormals.
  const bool large = fabs(a.re) > (T)1e30 || fabs(a.im) > (T)1e30;
  const T down = large ? (T)0.0625 : (T)16, up = large ? (T)4 : (T)0.25;
  const T re = a.re * down, im = a.im * down;
  const T root = sqrt((fabs(re) + hypot(re, im)) * (T)0.5);
  const T other = fabs(im) / (2 * root);
  if (re >= 0) return {root * up, copysign(other, im) * up};
  return {other * up, copysign(root, im) * up};
}

template <class T>
__device__ __forceinline__ Complex<T> rsqrt_of(Complex<T> a) {
  return reciprocal_of(sqrt_of(a));
}

template <class T>
__device__ __forceinline__ Complex<T> exp_of(Complex<T> a) {
  const T size = exp(a.re);
  if (a.im == 0) return {size, a.im};
  if (size == 0) return {(T)0, (T)0};
  T sine, cosine;
  sincos(a.im, &sine, &cosine);
  if (size == Real<T>::inf() && a.re < Real<T>::inf()) {
    // exp overflows before its product with a small sine or cosine does.
    const T half = exp(a.re * (T)0.5);
    return {cosine * half * half, sine * half * half};
  }
  return {size * cosine, size * sine};
}

template <class T>
__device__ __forceinline__ Complex<T> expm1_of(Complex<T> a) {
  T sine, cosine;
  sincos(a.im, &sine, &cosine);
  const T half = sin(a.im * (T)0.5);
  return {expm1(a.re) * cosine - 2 * half * half, exp(a.re) * sine};
}

// log |1 + x + iy|, exact where the result is small
template <class T>
__device__ __forceinline__ T log1p_size(T x, T y) {
  if (fabs(x) < (T)0.5 && fabs(y) < (T)1) {
    return (T)0.5 * log1p(x * (2 + x) + y * y);
  }
  return log(hypot(1 + x, y));
}

template <class T>
__device__ __forceinline__ Complex<T> log_of(Complex<T> a) {
  const T angle = atan2(a.im, a.re);
  const T large = maximum(fabs(a.re), fabs(a.im));
  const T small = minimum(fabs(a.re), fabs(a.im));
  if (large > (T)0.5 && large < (T)1.5) return {log1p_size(large - 1, small), angle};
  return {log(hypot(large, small)), angle};
}

template <class T>
__device__ __forceinline__ Complex<T> log1p_of(Complex<T> a) {
  return {log1p_size(a.re, a.im), atan2(a.im, 1 + a.re)};
}

template <class T>
__device__ __forceinline__ Complex<T> pow_of(Complex<T> base, Complex<T> exponent) {
  const Complex<T> one = {(T)1, (T)0};
  if (exponent.re == 0 && exponent.im == 0) return one;
  if (base.re == 0 && base.im == 0) {
    if (exponent.re > 0 && exponent.im == 0) return {(T)0, (T)0};
    return {Real<T>::nan(), Real<T>::nan()};
  }
  const T whole = trunc(exponent.re);
  if (exponent.im == 0 && exponent.re == whole && fabs(whole) < 100) {
    Complex<T> result = one, power = base;
    for (int left = (int)fabs(whole); left > 0; left >>= 1) {
      if (left & 1) result = result * power;
      power = power * power;
    }
    return whole < 0 ? one / result : result;
  }
  return exp_of(exponent * log_of(base));
}

// --- circular and hyperbolic functions --------------------------------------------

template <class T>
__device__ __forceinline__ Complex<T> sinh_of(Complex<T> a) {
  T sine, cosine;
  sincos(a.im, &sine, &cosine);
  if (a.im == 0) return {sinh(a.re), a.im};
  return {sinh(a.re) * cosine, cosh(a.re) * sine};
}

template <class T>
__device__ __forceinline__ Complex<T> cosh_of(Complex<T> a) {
  T sine, cosine;
  sincos(a.im, &sine, &cosine);
  if (a.im == 0) return {cosh(a.re), a.re * a.im};
  return {cosh(a.re) * cosine, sinh(a.re) * sine};
}

template <class T>
__device__ __forceinline__ Complex<T> tanh_of(Complex<T> a) {
  if (fabs(a.re) > (T)20) {
    // 1 - |tanh| is below half a unit of f64; the rest is exp(-2 |x|) sin(2y) * 2
    const T sine = a.im == 0 ? a.im : sin(2 * a.im);
    return {copysign((T)1, a.re), 2 * sine * exp(-2 * fabs(a.re))};
  }
  const T tangent = tan(a.im);
  const T beta = 1 + tangent * tangent;
  const T s = sinh(a.re);
  const T rho = sqrt(1 + s * s);
  if (fabs(tangent) == Real<T>::inf()) return {rho / s, 1 / tangent};
  const T under = 1 + beta * s * s;
  return {beta * rho * s / under, tangent / under};
}

template <class T>
__device__ __forceinline__ Complex<T> sin_of(Complex<T> a) {
  return turned_back(sinh_of(turned(a)));
}

template <class T>
__device__ __forceinline__ Complex<T> cos_of(Complex<T> a) {
  return cosh_of(turned(a));
}

template <class T>
__device__ __forceinline__ Complex<T> tan_of(Complex<T> a) {
  return turned_back(tanh_of(turned(a)));
}

// --- their inverses ---------------------------------------------------------------

// The imaginary part of conj(a) * b, and the real part.
template <class T>
__device__ __forceinline__ T cross(Complex<T> a, Complex<T> b) {
  return a.re * b.im - a.im * b.re;
}

template <class T>
__device__ __forceinline__ T dot(Complex<T> a, Complex<T> b) {
  return a.re * b.re + a.im * b.im;
}

// For |z| beyond this, 1 + z is z but for the sign of an imaginary zero, and the
// products of roots below may overflow: the functions are then log(2z), turned.
template <class T>
__device__ __forceinline__ bool is_far(Complex<T> a) {
  const T far = sizeof(T) == 4 ? (T)1e9 : (T)1e18;
  return !(fabs(a.re) < far && fabs(a.im) < far);
}

template <class T>
__device__ __forceinline__ Complex<T> asinh_of(Complex<T> a) {
  if (is_far(a)) {
    const Complex<T> size = {fabs(a.re), fabs(a.im)};
    const Complex<T> far = log_of(size);
    return {copysign(far.re + (T)0.6931471805599453094, a.re), copysign(far.im, a.im)};
  }
  const Complex<T> above = sqrt_of(Complex<T>{1 + a.im, -a.re});  // sqrt(1 - iz)
  const Complex<T> below = sqrt_of(Complex<T>{1 - a.im, a.re});   // sqrt(1 + iz)
  return {asinh(cross(above, below)),
          atan2(a.im, above.re * below.re - above.im * below.im)};
}

template <class T>
__device__ __forceinline__ Complex<T> asin_of(Complex<T> a) {
  return turned_back(asinh_of(turned(a)));
}

template <class T>
__device__ __forceinline__ Complex<T> acos_of(Complex<T> a) {
  if (is_far(a)) {
    const T angle = atan2(fabs(a.im), a.re);
    const T size = log_of(a).re + (T)0.6931471805599453094;
    return {angle, copysign(size, -a.im)};
  }
  const Complex<T> left = sqrt_of(Complex<T>{1 - a.re, -a.im});
  const Complex<T> right = sqrt_of(Complex<T>{1 + a.re, a.im});
  return {2 * atan2(left.re, right.re), asinh(cross(right, left))};
}

template <class T>
__device__ __forceinline__ Complex<T> acosh_of(Complex<T> a) {
  if (is_far(a)) {
    const Complex<T> far = log_of(a);
    return {far.re + (T)0.6931471805599453094, far.im};
  }
  const Complex<T> left = sqrt_of(Complex<T>{a.re - 1, a.im});
  const Complex<T> right = sqrt_of(Complex<T>{a.re + 1, a.im});
  return {asinh(dot(left, right)), 2 * atan2(left.im, right.re)};
}

template <class T>
__device__ __forceinline__ Complex<T> atanh_of(Complex<T> a) {
  if (is_far(a)) {
    const T half_turn = copysign((T)1.5707963267948966192, a.im);
    return {reciprocal_of(a).re, half_turn};
  }
  const T x = a.re, y = a.im, rest = 1 - x;
  const T re = (T)0.25 * log1p(4 * fabs(x) / ((1 - fabs(x)) * (1 - fabs(x)) + y * y));
  const T im = (T)0.5 * atan2(2 * y, rest * (1 + x) - y * y);
  return {copysign(re, x), im};
}

template <class T>
__device__ __forceinline__ Complex<T> atan_of(Complex<T> a) {
  return turned_back(atanh_of(turned(a)));
}
