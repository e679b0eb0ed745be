// Vectors of floats through the compiler's vector extensions: SSE, AVX2, AVX-512 and NEON from one source.
#pragma once

#include <cmath>
#include <cstdint>

#define INLINE static inline __attribute__((always_inline))
#define INLINE_MEMBER inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#ifndef LAMNET_LANES
#if defined(__AVX512F__)
#define LAMNET_LANES 16
#elif defined(__AVX__)
#define LAMNET_LANES 8
#else
#define LAMNET_LANES 4
#endif
#endif

namespace lamnet {

constexpr int kLanes = LAMNET_LANES;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;  // 32 vector registers, else 16
#else
constexpr bool kManyRegisters = false;
#endif

typedef float Vec __attribute__((vector_size(4 * LAMNET_LANES)));
typedef float UnalignedVec __attribute__((vector_size(4 * LAMNET_LANES), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(4 * LAMNET_LANES)));

INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
INLINE void add(float* p, Vec v) { store(p, load(p) + v); }
INLINE Vec broadcast(float x) { return x - Vec{}; }

constexpr long round_up(long n, long multiple = kLanes) { return (n + multiple - 1) / multiple * multiple; }

typedef float Quad __attribute__((vector_size(16)));
typedef float UnalignedQuad __attribute__((vector_size(16), aligned(4), may_alias));

INLINE void store_quad(float* p, Quad v) { *reinterpret_cast<UnalignedQuad*>(p) = v; }

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

template <int I>
INLINE Quad quad(Vec v) { return SHUFFLE(v, v, 4 * I, 4 * I + 1, 4 * I + 2, 4 * I + 3); }
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, decltype((a) < (b)){__VA_ARGS__})

template <int I>
INLINE Quad quad(Vec v) {
  Quad quads[kLanes / 4];
  __builtin_memcpy(quads, &v, sizeof v);
  return quads[I];
}
#endif

// The same shuffle of each four lanes: two of a, then two of b.
#if LAMNET_LANES == 16
#define SHUFFLE_QUADS(a, b, i, j, k, l)                                                                         \
  SHUFFLE(a, b, i, j, k + 16, l + 16, i + 4, j + 4, k + 20, l + 20, i + 8, j + 8, k + 24, l + 24, i + 12, j + 12, \
          k + 28, l + 28)
#elif LAMNET_LANES == 8
#define SHUFFLE_QUADS(a, b, i, j, k, l) SHUFFLE(a, b, i, j, k + 8, l + 8, i + 4, j + 4, k + 12, l + 12)
#else
#define SHUFFLE_QUADS(a, b, i, j, k, l) SHUFFLE(a, b, i, j, k + 4, l + 4)
#endif

// Sum of the quads FIRST ... FIRST + COUNT - 1.
template <int FIRST, int COUNT>
INLINE Quad sum_quads(Vec v) {
  if constexpr (COUNT == 1) return quad<FIRST>(v);
  else return sum_quads<FIRST, COUNT / 2>(v) + sum_quads<FIRST + COUNT / 2, COUNT / 2>(v);
}

// The sums of each four lanes of four vectors, side by side.
INLINE Vec sums_in_quads(const Vec* v) {
  const Vec first = SHUFFLE_QUADS(v[0], v[1], 0, 2, 0, 2) + SHUFFLE_QUADS(v[0], v[1], 1, 3, 1, 3);
  const Vec second = SHUFFLE_QUADS(v[2], v[3], 0, 2, 0, 2) + SHUFFLE_QUADS(v[2], v[3], 1, 3, 1, 3);
  return SHUFFLE_QUADS(first, second, 0, 2, 0, 2) + SHUFFLE_QUADS(first, second, 1, 3, 1, 3);
}

// The sums of the lanes of each of four vectors.
INLINE Quad sums_of_lanes(const Vec* v) { return sum_quads<0, kLanes / 4>(sums_in_quads(v)); }

INLINE float sum_lanes(Vec v) {
  const Quad sums = sum_quads<0, kLanes / 4>(v);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

typedef int64_t LongVec __attribute__((vector_size(4 * LAMNET_LANES)));

INLINE Vec broadcast_pair(const float* p) {
  int64_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return reinterpret_cast<Vec>(pair - LongVec{});
}

// PARTS adjacent numbers, each in a part of the lanes, of at least four lanes.
template <int PARTS>
INLINE Vec spread(const float* p) {
  if constexpr (PARTS == 1) return broadcast(*p);
#if LAMNET_LANES == 8
  if constexpr (PARTS == 2) {
    const Vec pair = broadcast_pair(p);
    return SHUFFLE(pair, pair, 0, 0, 2, 2, 5, 5, 7, 7);
  }
#elif LAMNET_LANES == 16
  if constexpr (PARTS == 2) {
    const Vec pair = broadcast_pair(p);
    return SHUFFLE(pair, pair, 0, 0, 2, 2, 4, 4, 6, 6, 9, 9, 11, 11, 13, 13, 15, 15);
  }
  if constexpr (PARTS == 4) {
    const Vec first = broadcast_pair(p), second = broadcast_pair(p + 2);
    return SHUFFLE(first, second, 0, 0, 2, 2, 5, 5, 7, 7, 24, 24, 26, 26, 29, 29, 31, 31);
  }
#endif
}

// Sums of the parts of four vectors: those of the first 4 / PARTS vectors in out[0], of the next in out[1], and so on.
template <int PARTS>
INLINE void sum_parts(const Vec* v, Quad* out) {
  constexpr int kQuads = kLanes / 4 / PARTS;
  const Vec sums = sums_in_quads(v);
  const Quad a = sum_quads<0, kQuads>(sums);
  if constexpr (PARTS == 1) {
    out[0] = a;
  } else {
    const Quad b = sum_quads<kQuads, kQuads>(sums);
    const Quad low = SHUFFLE(a, b, 0, 4, 1, 5), high = SHUFFLE(a, b, 2, 6, 3, 7);
    if constexpr (PARTS == 2) {
      out[0] = low, out[1] = high;
    } else {
      const Quad c = sum_quads<2 * kQuads, kQuads>(sums), d = sum_quads<3 * kQuads, kQuads>(sums);
      const Quad next_low = SHUFFLE(c, d, 0, 4, 1, 5), next_high = SHUFFLE(c, d, 2, 6, 3, 7);
      out[0] = SHUFFLE(low, next_low, 0, 1, 4, 5), out[1] = SHUFFLE(low, next_low, 2, 3, 6, 7);
      out[2] = SHUFFLE(high, next_high, 0, 1, 4, 5), out[3] = SHUFFLE(high, next_high, 2, 3, 6, 7);
    }
  }
}

// Comparisons keep NaN: it must reach the output as in PyTorch.
INLINE Vec clamp(Vec x, float limit) {
  const Vec high = broadcast(limit), low = broadcast(-limit);
  x = x > high ? high : x;
  return x < low ? low : x;
}

// Rational approximation on [-7.9, 7.9], where tanh reaches 1 in float32; error below 3e-7.
INLINE Vec tanh(Vec x) {
  x = clamp(x, 7.90531110763549805f);
  const Vec s = x * x;
  Vec p = -2.76076847742355e-16f * s + 2.00018790482477e-13f;
  p = p * s - 8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = 1.19825839466702e-06f * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  return x * p / q;
}

INLINE Vec sigmoid(Vec x) { return 0.5f + 0.5f * tanh(0.5f * x); }

// exp(x) for x <= 0: 2^n · e^r with |r| <= ln(2) / 2.
INLINE Vec exp_negative(Vec x) {
  const Vec low = broadcast(-87.0f);
  x = x < low ? low : x;
  const Vec n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;  // rounds to an integer
  const Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

// Distribution function of the normal distribution, 0.5 · (1 + erf(x / √2)), and its density.
// Abramowitz and Stegun, 7.1.26: error below 1.5e-7.
INLINE Vec normal_cdf(Vec x, Vec* density) {
  const Vec negative = -x;
  const Vec magnitude = (x < 0.0f ? negative : x) * 0.70710678118654752f;
  const Vec e = exp_negative(-magnitude * magnitude);
  const Vec t = 1.0f / (1.0f + 0.3275911f * magnitude);
  Vec p = 1.061405429f * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec tail = 0.5f * p * t * e;  // of |x|
  const Vec complement = 1.0f - tail;
  *density = e * 0.39894228040143268f;
  return x < 0.0f ? tail : complement;
}

}  // namespace lamnet
