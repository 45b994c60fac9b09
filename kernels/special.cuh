// Special functions of real numbers that CUDA lacks, in f64 whatever the type asked for.
//
// The methods are those of gpugrad/kir/special.py and incomplete.py, which name their
// sources. Undefined is NaN. Loops stay loops: unrolled they would fill the registers.
#pragma once
#include "types.cuh"

#define SPECIAL __device__ __forceinline__

static constexpr f64 PI = 3.14159265358979323846;
static constexpr f64 HALF_LOG_TAU = 0.91893853320467274178;

// --- digamma ----------------------------------------------------------------------

// Taylor's series around the zero of digamma.
SPECIAL f64 digamma_near_root(f64 x) {
  const f64 t = (x - 1.4616321449683622) - 9.549995429965697e-17;
  f64 sum = 5.178575795722080869e-05;
  sum = sum * t + -7.569179582195065919e-05;
  sum = sum * t + 1.10633727687474109e-04;
  sum = sum * t + -1.617062209197480345e-04;
  sum = sum * t + 2.363560156402705279e-04;
  sum = sum * t + -3.454680251063076996e-04;
  sum = sum * t + 5.049532658346020352e-04;
  sum = sum * t + -7.380709389960051296e-04;
  sum = sum * t + 1.078825201916296581e-03;
  sum = sum * t + -1.576936771430197259e-03;
  sum = sum * t + 2.305126326734927837e-03;
  sum = sum * t + -3.369801655439328083e-03;
  sum = sum * t + 4.926781395729853446e-03;
  sum = sum * t + -7.204534386356868241e-03;
  sum = sum * t + 1.053879161661217539e-02;
  sum = sum * t + -1.542476590494895914e-02;
  sum = sum * t + 2.259764823221810466e-02;
  sum = sum * t + -3.316112647484735929e-02;
  sum = sum * t + 4.880428816414310723e-02;
  sum = sum * t + -7.219956125645471093e-02;
  sum = sum * t + 1.078240506912623658e-01;
  sum = sum * t + -1.639427054424065275e-01;
  sum = sum * t + 2.584997609556510106e-01;
  sum = sum * t + -4.427631689835921061e-01;
  sum = sum * t + 9.676722454476211704e-01;
  return sum * t;
}

SPECIAL f64 digamma_positive(f64 x) {
  if (fabs(x - 1.4616321449683622) < 0.3) return digamma_near_root(x);
  f64 steps = 0;
#pragma unroll 1
  while (x < 13) {
    steps -= 1 / x;
    x += 1;
  }
  const f64 w = 1 / (x * x);
  f64 sum = -0.44325980392156862745;
  sum = sum * w + 0.083333333333333333333;
  sum = sum * w + -0.0210927960927960927961;
  sum = sum * w + 0.0075757575757575757576;
  sum = sum * w + -0.0041666666666666666667;
  sum = sum * w + 0.0039682539682539682540;
  sum = sum * w + -0.0083333333333333333333;
  sum = sum * w + 0.083333333333333333333;
  return steps + (log(x) - 0.5 / x - w * sum);
}

SPECIAL f64 digamma(f64 x) {
  if (x > 0) return digamma_positive(x);
  if (!(x < 0) || x == floor(x)) return NAN_F64;
  const f64 turn = x - rint(x);
  const f64 cotangent = PI * cospi(turn) / sinpi(turn);
  return digamma_positive(-x) - 1 / x - cotangent;
}

// --- zeta and polygamma -----------------------------------------------------------

// The sum of (q + k) ** -x over k >= 0 for q > 0, x > 1: ten terms, then Euler and
// Maclaurin's formula.
SPECIAL f64 hurwitz(f64 x, f64 q) {
  f64 sum = 0;
#pragma unroll 1
  for (int k = 0; k < 10; ++k) sum += pow(q + k, -x);
  const f64 end = q + 10;
  f64 power = pow(end, -x);
  sum += power * (end / (x - 1) + 0.5);
  f64 term = power * x / end;
  const f64 tail[14] = {
      8.333333333333333333e-02,  -1.388888888888888889e-03, 3.306878306878306878e-05,
      -8.267195767195767196e-07, 2.087675698786809898e-08,  -5.284190138687493185e-10,
      1.338253653068467883e-11,  -3.389680296322582867e-13, 8.586062056277844564e-15,
      -2.174868698558061873e-16, 5.509002828360229515e-18,  -1.395446468581252334e-19,
      3.534707039629467472e-21,  -8.95351742703754685e-23};
#pragma unroll
  for (int k = 0; k < 14; ++k) {
    sum += tail[k] * term;
    term *= ((x + 2 * k + 1) / end) * ((x + 2 * k + 2) / end);
  }
  return sum;
}

SPECIAL bool is_even(f64 x) { return x * 0.5 == floor(x * 0.5); }

SPECIAL f64 zeta(f64 x, f64 q) {
  if (x == 1 && q == q) return INF_F64;
  if (!(x > 1) || q != q) return NAN_F64;
  if (q == INF_F64) return 0;
  if (x == INF_F64 && q != -INF_F64) return q > 1 ? 0 : q == 1 ? 1 : INF_F64;
  if (q > 0) return hurwitz(x, q);
  if (x != floor(x)) return NAN_F64;
  if (q == floor(q)) return is_even(x) ? INF_F64 : NAN_F64;
  // A sum over all whole k has a side above 0 and a side below; what lies before q
  // is taken off.
  const f64 distance = -floor(q);
  const f64 start = q + distance;
  const f64 mirrored = hurwitz(x, 1 - start) - hurwitz(x, 1 - start + distance);
  return hurwitz(x, start) + (is_even(x) ? mirrored : -mirrored);
}

SPECIAL f64 polygamma(f64 n, f64 x) {
  if (n == 0) return digamma(x);
  if (!(n > 0) || n != floor(n) || n == INF_F64) return NAN_F64;
  const f64 size = tgamma(n + 1) * zeta(n + 1, x);
  return is_even(n) ? -size : size;
}

// --- the incomplete gamma functions -----------------------------------------------

static constexpr f64 EPSILON = 1.1102230246251565e-16;
static constexpr f64 TINY = 1e-300;
// Ends the loops where nothing converges; some 1e-9 from the limit at a = 1e10.
static constexpr int LONGEST = 1 << 20;

SPECIAL f64 not_zero(f64 x) { return fabs(x) < TINY ? TINY : x; }

// What lgamma(x) is above (x - 1/2) log x - x + log(2 pi) / 2, for x > 0.
SPECIAL f64 stirling_rest(f64 x) {
  if (x < 13) return lgamma(x) - ((x - 0.5) * log(x) - x + HALF_LOG_TAU);
  const f64 w = 1 / (x * x);
  f64 sum = -1.392432216905901116;
  sum = sum * w + 0.1796443723688305732;
  sum = sum * w + -0.02955065359477124183;
  sum = sum * w + 0.006410256410256410256;
  sum = sum * w + -0.001917526917526917527;
  sum = sum * w + 0.0008417508417508417508;
  sum = sum * w + -0.0005952380952380952381;
  sum = sum * w + 0.0007936507936507936508;
  sum = sum * w + -0.002777777777777777778;
  sum = sum * w + 0.08333333333333333333;
  return sum / x;
}

// a log(a / x) + x - a, without cancellation where a is near x.
SPECIAL f64 deviance(f64 a, f64 x) {
  const f64 v = (x - a) / (x + a);
  if (!(fabs(v) < 0.1)) return a * log(a / x) + (x - a);
  const f64 square = v * v;
  f64 sum = 1.0 / 19;
#pragma unroll
  for (int k = 8; k >= 1; --k) sum = sum * square + 1.0 / (2 * k + 1);
  return (x - a) * v - 2 * a * (sum * square * v);
}

// x**a exp(-x) / gamma(a + 1)
SPECIAL f64 poisson(f64 a, f64 x) {
  return exp(-stirling_rest(a) - deviance(a, x)) / sqrt(2 * PI * a);
}

// P(a, x) by its power series, for x < a + 1
SPECIAL f64 gamma_series(f64 a, f64 x) {
  f64 sum = 1, term = 1;
#pragma unroll 1
  for (int n = 1; n < LONGEST; ++n) {
    term *= x / (a + n);
    sum += term;
    if (!(term > sum * EPSILON)) break;
  }
  return sum * poisson(a, x);
}

// Q(a, x) by its continued fraction, for x > a and x > 1
SPECIAL f64 gamma_fraction(f64 a, f64 x) {
  f64 b = x + 1 - a;
  f64 c = 1 / TINY;
  f64 d = 1 / not_zero(b);
  f64 value = d;
#pragma unroll 1
  for (int n = 1; n < LONGEST; ++n) {
    const f64 numerator = n * (a - n);
    b += 2;
    d = 1 / not_zero(numerator * d + b);
    c = not_zero(b + numerator / c);
    const f64 factor = c * d;
    value *= factor;
    if (!(fabs(factor - 1) > 16 * EPSILON)) break;
  }
  return value * a * poisson(a, x);
}

SPECIAL f64 incomplete_gamma(f64 a, f64 x, bool upper) {
  if (!(a > 0) || !(x >= 0)) return NAN_F64;
  if (a == INF_F64) return x == INF_F64 ? NAN_F64 : upper ? 1.0 : 0.0;
  if (x == 0) return upper ? 1.0 : 0.0;
  if (x == INF_F64) return upper ? 0.0 : 1.0;
  const bool fraction = x > a && x > 1;
  const f64 value = fraction ? gamma_fraction(a, x) : gamma_series(a, x);
  return fraction == upper ? value : 1 - value;
}

SPECIAL f64 igamma(f64 a, f64 x) { return incomplete_gamma(a, x, false); }

SPECIAL f64 igammac(f64 a, f64 x) { return incomplete_gamma(a, x, true); }

// --- the incomplete beta function -------------------------------------------------

// x**a y**b / B(a, b), where y = 1 - x
SPECIAL f64 beta_factor(f64 a, f64 b, f64 x, f64 y) {
  const f64 both = a + b;
  const f64 rest = stirling_rest(both) - stirling_rest(a) - stirling_rest(b);
  const f64 away = deviance(a, both * x) + deviance(b, both * y);
  return exp(rest - away) * sqrt(a / both * b / (2 * PI));
}

SPECIAL f64 betainc(f64 a, f64 b, f64 x) {
  if (!(a > 0 && b > 0 && x >= 0 && x <= 1)) return NAN_F64;
  if (a == INF_F64 || b == INF_F64) return NAN_F64;
  if (x == 0 || x == 1) return x;
  f64 y = 1 - x;
  const bool swapped = !(x * (a + b + 2) < a + 1);
  if (swapped) {
    f64 other = a;
    a = b;
    b = other;
    other = x;
    x = y;
    y = other;
  }
  f64 c = 1;
  f64 d = 1 / not_zero(1 - (a + b) * x / (a + 1));
  f64 value = d;
#pragma unroll 1
  for (int n = 1; n < LONGEST; ++n) {
    const f64 place = a + 2 * (f64)n;
    const f64 even = n * (b - n) * x / ((place - 1) * place);
    d = 1 / not_zero(1 + even * d);
    c = not_zero(1 + even / c);
    value *= c * d;
    const f64 odd = -(a + n) * (a + b + n) * x / (place * (place + 1));
    d = 1 / not_zero(1 + odd * d);
    c = not_zero(1 + odd / c);
    const f64 factor = c * d;
    value *= factor;
    if (!(fabs(factor - 1) > 16 * EPSILON)) break;
  }
  value *= beta_factor(a, b, x, y) / a;
  return swapped ? 1 - value : value;
}
