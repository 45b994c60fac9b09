// Two folds in one pass, where the second needs the result of the first.
//
// A state is what a thread knows of the points that it has taken: none() before the
// first, take() for a run of them, with() for what another thread has taken. Then
// first() is the one fold of all points and second(offset) the other, whatever the
// offset is that has been made from first().
#pragma once
#include "math.cuh"
#include "types.cuh"

__device__ __forceinline__ f32 exp_real(f32 x) { return expf(x); }
__device__ __forceinline__ f64 exp_real(f64 x) { return exp(x); }

// e to the power of a - b, where infinities that are equal are no distance apart.
template <class T>
__device__ __forceinline__ T exp_away(T a, T b) {
  return a == b ? (T)1 : exp_real(a - b);
}

// max[t] and sum[exp(t - offset)].
template <class T>
struct MaxSum {
  T top, sum;  // sum[exp(t - top)]

  static __device__ __forceinline__ MaxSum none() { return {-Real<T>::inf(), (T)0}; }

  template <int V>
  __device__ __forceinline__ void take(const T (&t)[V]) {
    T now = top;
#pragma unroll
    for (int k = 0; k < V; ++k) now = maximum(now, t[k]);
    sum *= exp_away(top, now);
#pragma unroll
    for (int k = 0; k < V; ++k) sum += exp_away(t[k], now);
    top = now;
  }

  __device__ __forceinline__ MaxSum with(const MaxSum& other) const {
    const T now = maximum(top, other.top);
    return {now, sum * exp_away(top, now) + other.sum * exp_away(other.top, now)};
  }

  __device__ __forceinline__ T first() const { return top; }

  // Infinite maxima are NaN where they are subtracted from themselves, as they should.
  __device__ __forceinline__ T second(T offset) const {
    return offset == top ? sum + (top - top) : sum * exp_real(top - offset);
  }
};

// sum[x] and sum[(x - offset) * (x - offset)].
template <class T>
struct Moments {
  T count, sum, away;  // away: sum of the squared distances from sum / count

  static __device__ __forceinline__ Moments none() { return {(T)0, (T)0, (T)0}; }

  template <int V>
  __device__ __forceinline__ void take(const T (&x)[V]) {
    Moments run = {(T)V, (T)0, (T)0};
#pragma unroll
    for (int k = 0; k < V; ++k) run.sum += x[k];
    const T mean = run.sum / (T)V;
#pragma unroll
    for (int k = 0; k < V; ++k) run.away += (x[k] - mean) * (x[k] - mean);
    *this = with(run);
  }

  // Chan, Golub and LeVeque: the distance of the means, by both counts.
  __device__ __forceinline__ Moments with(const Moments& other) const {
    if (count == 0) return other;
    if (other.count == 0) return *this;
    const T all = count + other.count;
    const T apart = other.sum / other.count - sum / count;
    const T between = apart * apart * (count * (other.count / all));
    return {all, sum + other.sum, away + other.away + between};
  }

  __device__ __forceinline__ T first() const { return sum; }

  __device__ __forceinline__ T second(T offset) const {
    const T apart = sum / count - offset;
    return away + count * (apart * apart);
  }
};

struct JoinStates {
  template <class S>
  static __device__ __forceinline__ S of(const S& a, const S& b) {
    return a.with(b);
  }
};
