// Matrix products in bfloat16 with float32 sums, in the tile registers of AMX (x86-64, Linux).
//
// A tile holds 16 rows of 64 bytes. tdpbf16ps adds A (16 × 32) times B (32 × 16) to C (16 × 16, float32); row r of B
// holds rows 2r and 2r + 1 of the matrix, interleaved.
#pragma once

#include "simd.h"

#if defined(__linux__) && defined(__AVX512F__) && __has_include(<amxbf16intrin.h>)
#define LAMNET_AMX 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#define AMX __attribute__((target("amx-tile,amx-bf16,avx512bf16,avx512bw")))
#endif

namespace lamnet {

typedef uint16_t Bf16;

constexpr int kTile = 16;       // rows of a tile, and columns of a tile of float32
constexpr int kTileDepth = 32;  // columns of a tile of bfloat16
constexpr int kTileElements = kTile * kTileDepth;
constexpr int kMaxTileDepth = 16;  // of a product: 512 input channels

constexpr long tiled_size(int rows, int cols) {
  return round_up(rows, kTile) * round_up(cols, kTileDepth);
}

// Rounds to the nearest, ties to even.
INLINE Bf16 round_to_bf16(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return Bf16(x != x ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#ifdef LAMNET_AMX

// Whether the processor has AMX for bfloat16 and the system lets this process use it.
static bool bf16_available() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d >> 22 & 1) || !(d >> 24 & 1)) return false;  // AMX-BF16, AMX-TILE
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a >> 5 & 1)) return false;                      // AVX512-BF16
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Before loads of tiles: GCC's intrinsics do not tell it that they read memory.
INLINE void finish_stores() { asm volatile("" ::: "memory"); }

// Configures the tile registers of the calling thread for as long as it lives.
class Tiles {
 public:
  AMX explicit Tiles(bool enabled) : enabled_(enabled) {
    if (!enabled) return;
    struct alignas(64) {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {};
      uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = kTile;
    finish_stores();
    _tile_loadconfig(&config);
  }
  AMX ~Tiles() {
    if (enabled_) _tile_release();
  }
  Tiles(const Tiles&) = delete;

 private:
  bool enabled_;
};

AMX INLINE __m512i to_bf16(__m512 low, __m512 high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }

// Row of a tile B from two rows of a matrix.
AMX INLINE __m512i interleave(__m512 even, __m512 odd) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, to_bf16(even, odd));
}

// Transposes 16 × 16 elements of 32 bits.
AMX INLINE void transpose(__m512i* r) {
  __m512i t[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  UNROLL for (int i = 0; i < 16; i += 4)
    UNROLL for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  UNROLL for (int i = 0; i < 16; i += 8)
    UNROLL for (int j = 0; j < 4; j++) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  UNROLL for (int i = 0; i < 8; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
  }
}

// Adds the products of `depth` tiles to 1 or 2 rows and columns of tiles: row i of `a` is at a + i · a_row, column j of
// `b` at b + j · b_column. Tile registers are part of the instruction, so they cannot be indexed.
template <int ROWS, int COLS>
AMX INLINE void add_tiles(int depth, const Bf16* a, long a_row, const Bf16* b, long b_column) {
  for (int k = 0; k < depth; k++, a += kTileElements, b += kTileElements) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if (COLS > 1) {
      _tile_loadd(7, b + b_column, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (ROWS > 1) {
      _tile_loadd(5, a + a_row, 64);
      _tile_dpbf16ps(2, 5, 6);
      if (COLS > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

AMX INLINE void clear_sums() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
}

// Loads the sums of 1 or 2 rows and columns of tiles; with stride 0, each row of a tile is the same.
template <int ROWS, int COLS>
AMX INLINE void load_sums(const float* c, long stride) {
  _tile_loadd(0, c, stride * 4);
  if (COLS > 1) _tile_loadd(1, c + kTile, stride * 4);
  if (ROWS > 1) _tile_loadd(2, c + kTile * stride, stride * 4);
  if (ROWS > 1 && COLS > 1) _tile_loadd(3, c + kTile * stride + kTile, stride * 4);
}

template <int ROWS, int COLS>
AMX INLINE void store_sums(float* c, long stride) {
  _tile_stored(0, c, stride * 4);
  if (COLS > 1) _tile_stored(1, c + kTile, stride * 4);
  if (ROWS > 1) _tile_stored(2, c + kTile * stride, stride * 4);
  if (ROWS > 1 && COLS > 1) _tile_stored(3, c + kTile * stride + kTile, stride * 4);
}

template <int ROWS, int COLS>
AMX INLINE void product_of_tiles(int depth, const Bf16* a, const Bf16* b, const float* bias, float* c, long stride) {
  finish_stores();
  load_sums<ROWS, COLS>(bias, 0);
  add_tiles<ROWS, COLS>(depth, a, depth * kTileElements, b, depth * kTileElements);
  store_sums<ROWS, COLS>(c, stride);
}

// out = x · weights + bias for 16 or 32 pixels, of which n exist; the weights are in tiles.
template <int ROWS>
AMX static void multiply_pixels(int rows, int cols, const Bf16* weights, const float* bias, const float* x,
                                long x_pitch, long n, float* out, long pitch) {
  alignas(64) Bf16 pixels[ROWS * kMaxTileDepth * kTileElements];
  alignas(64) float sums[ROWS * kTile][2 * kTile];
  const int depth = int(round_up(rows, kTileDepth)) / kTileDepth;
  for (int i = 0; i < ROWS * kTile; i++) {
    Bf16* row = pixels + i / kTile * depth * kTileElements + i % kTile * kTileDepth;
    for (int k = 0; k < rows; k += kTileDepth, row += kTileElements) {
      const Vec low = i < n ? load(x + i * x_pitch + k) : Vec{};
      const Vec high = i < n && k + kTile < rows ? load(x + i * x_pitch + k + kTile) : Vec{};
      _mm512_store_si512(row, to_bf16((__m512)low, (__m512)high));
    }
  }
  const bool whole = n == ROWS * kTile;
  for (int j = 0; j < cols; j += 2 * kTile) {
    const Bf16* column = weights + j / kTile * depth * kTileElements;
    float* result = whole ? out + j : sums[0];
    const long stride = whole ? pitch : 2 * kTile;
    if (j + kTile < cols) product_of_tiles<ROWS, 2>(depth, pixels, column, bias + j, result, stride);
    else product_of_tiles<ROWS, 1>(depth, pixels, column, bias + j, result, stride);
    if (whole) continue;
    finish_stores();
    for (int i = 0; i < n; i++)
      for (int k = 0; k < 2 * kTile && j + k < cols; k += kTile) store(out + i * pitch + j + k, load(sums[i] + k));
  }
}

static void multiply_bf16(int rows, int cols, const Bf16* weights, const float* bias, const float* x, long x_pitch,
                          long n, float* out, long pitch) {
  for (long p = 0; p < n; p += 2 * kTile) {
    const long count = n - p < 2 * kTile ? n - p : 2 * kTile;
    const auto multiply = count > kTile ? multiply_pixels<2> : multiply_pixels<1>;
    multiply(rows, cols, weights, bias, x + p * x_pitch, x_pitch, count, out + p * pitch, pitch);
  }
}

// Tiles of up to 16 channels of n pixels: B, or with TRANSPOSED, A.
template <bool TRANSPOSED>
AMX static void pack_pairs(const float* x, long pitch, long n, Bf16* out) {
  for (long p = 0; p < n; p += kTileDepth, out += kTileElements) {
    __m512i rows[kTile];
    UNROLL for (int i = 0; i < kTile; i++) {
      const long even = p + 2 * i;
      const Vec first = even < n ? load(x + even * pitch) : Vec{};
      const Vec second = even + 1 < n ? load(x + (even + 1) * pitch) : Vec{};
      rows[i] = interleave((__m512)first, (__m512)second);
    }
    if (TRANSPOSED) transpose(rows);
    UNROLL for (int i = 0; i < kTile; i++) _mm512_store_si512(out + i * kTileDepth, rows[i]);
  }
}

// Adds to 1 or 2 rows and columns of tiles of `out`. The sums start at 0, which is more accurate.
template <int ROWS, int COLS>
AMX INLINE void add_outer_tiles(int depth, long stride, const Bf16* y, const Bf16* x, float* out, long pitch) {
  alignas(64) float sums[2 * kTile][2 * kTile];
  clear_sums();
  add_tiles<ROWS, COLS>(depth, y, stride, x, stride);
  store_sums<ROWS, COLS>(sums[0], 2 * kTile);
  finish_stores();
  for (int i = 0; i < ROWS * kTile; i++)
    UNROLL for (int j = 0; j < COLS; j++) add(out + i * pitch + j * kTile, load(sums[i] + j * kTile));
}

// out[i][j] += Σ y[i] · x[j] over n pixels; rows and columns are rounded up to 16.
AMX static void add_outer_product_bf16(const float* y, long y_pitch, int rows, const float* x, long x_pitch, int cols,
                                       long n, float* out) {
  constexpr int kDepth = 4, kPanel = 4;  // tiles of pixels and of x's channels at a time
  constexpr long kStride = kDepth * kTileElements;
  alignas(64) Bf16 x_tiles[kPanel * kStride], y_tiles[2 * kStride];
  for (long p = 0; p < n; p += kDepth * kTileDepth) {
    const long count = n - p < kDepth * kTileDepth ? n - p : kDepth * kTileDepth;
    const int depth = int(count + kTileDepth - 1) / kTileDepth;
    for (int first = 0; first < cols; first += kPanel * kTile) {
      const int end = cols - first < kPanel * kTile ? cols : first + kPanel * kTile;
      for (int j = first; j < end; j += kTile)
        pack_pairs<false>(x + p * x_pitch + j, x_pitch, count, x_tiles + (j - first) / kTile * kStride);
      for (int i = 0; i < rows; i += 2 * kTile) {
        const bool two = i + kTile < rows;
        for (int j = i; j < (two ? i + 2 * kTile : i + kTile); j += kTile)
          pack_pairs<true>(y + p * y_pitch + j, y_pitch, count, y_tiles + (j - i) / kTile * kStride);
        finish_stores();
        for (int j = first; j < end; j += 2 * kTile) {
          const Bf16* panel = x_tiles + (j - first) / kTile * kStride;
          float* sums = out + long(i) * cols + j;
          if (two && j + kTile < end) add_outer_tiles<2, 2>(depth, kStride, y_tiles, panel, sums, cols);
          else if (two) add_outer_tiles<2, 1>(depth, kStride, y_tiles, panel, sums, cols);
          else if (j + kTile < end) add_outer_tiles<1, 2>(depth, kStride, y_tiles, panel, sums, cols);
          else add_outer_tiles<1, 1>(depth, kStride, y_tiles, panel, sums, cols);
        }
      }
    }
  }
}

#else

static bool bf16_available() { return false; }

struct Tiles {
  explicit Tiles(bool) {}
};

#endif
}  // namespace lamnet
