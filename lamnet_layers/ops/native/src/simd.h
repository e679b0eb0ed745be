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

// Vectors with other numbers of lanes, for the channels of a head.
template <int LANES>
struct Lanes;

#define DEFINE_LANES(N)                                                                 \
  template <>                                                                           \
  struct Lanes<N> {                                                                     \
    typedef float Vec __attribute__((vector_size(4 * N)));                              \
    typedef float Unaligned __attribute__((vector_size(4 * N), aligned(4), may_alias)); \
  };
DEFINE_LANES(4)
DEFINE_LANES(8)
DEFINE_LANES(16)

template <int LANES>
INLINE typename Lanes<LANES>::Vec load_lanes(const float* p) {
  return *reinterpret_cast<const typename Lanes<LANES>::Unaligned*>(p);
}

template <int LANES>
INLINE void store_lanes(float* p, typename Lanes<LANES>::Vec v) {
  *reinterpret_cast<typename Lanes<LANES>::Unaligned*>(p) = v;
}

typedef Lanes<4>::Vec Quad;

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)

INLINE Quad sum_quads(Lanes<4>::Vec v) { return v; }
INLINE Quad sum_quads(Lanes<8>::Vec v) { return SHUFFLE(v, v, 0, 1, 2, 3) + SHUFFLE(v, v, 4, 5, 6, 7); }
INLINE Quad sum_quads(Lanes<16>::Vec v) {
  return sum_quads(SHUFFLE(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + SHUFFLE(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
}
#else
typedef int32_t IntQuad __attribute__((vector_size(16)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, IntQuad{__VA_ARGS__})

template <class V>
INLINE Quad sum_quads(V v) {
  constexpr int kQuads = sizeof(V) / sizeof(Quad);
  Quad quads[kQuads];
  __builtin_memcpy(quads, &v, sizeof v);
  for (int n = kQuads / 2; n > 0; n /= 2) UNROLL for (int i = 0; i < n; i++) quads[i] += quads[i + n];
  return quads[0];
}
#endif

template <class V>
INLINE float sum_lanes(V v) {
  const Quad sums = sum_quads(v);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// The sums of the lanes of each of four vectors.
template <class V>
INLINE Quad sums_of_lanes(const V* v) {
  const Quad q[4] = {sum_quads(v[0]), sum_quads(v[1]), sum_quads(v[2]), sum_quads(v[3])};
  const Quad first = SHUFFLE(q[0], q[1], 0, 4, 1, 5) + SHUFFLE(q[0], q[1], 2, 6, 3, 7);
  const Quad second = SHUFFLE(q[2], q[3], 0, 4, 1, 5) + SHUFFLE(q[2], q[3], 2, 6, 3, 7);
  return SHUFFLE(first, second, 0, 1, 4, 5) + SHUFFLE(first, second, 2, 3, 6, 7);
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
