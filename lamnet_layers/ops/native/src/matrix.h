// Small matrix products: weights times the pixels of a line, and sums of outer products over pixels.
//
// Feature lines are channels × pixels: pixel i of channel c is at c · pitch + i. Vectors span pixels.
#pragma once

#include <algorithm>

#include "bf16.h"

namespace lamnet {

constexpr int kTileRows = 6;
constexpr int kTileVecs = kManyRegisters ? 4 : 2;

// Rows of the next tile of a product, given the number of rows left.
constexpr int tile_rows(int left) {
  return left >= kTileRows && left != 7 && left != 8 ? kTileRows : left >= 4 ? 4 : left;
}

// Weights and bias, packed by row tiles: element (row, k) of a tile is at k · rows of the tile + row. In bfloat16, in
// tiles of 16 × 32 elements, and each bias 16 times.
struct Matrix {
  int rows = 0, cols = 0;
  bool bf16 = false;
  float *data = nullptr, *bias = nullptr;

  // Size in floats.
  static long size(int rows, int cols) {
    const long tiled = tiled_size(rows, cols) / 2 + round_up(rows, kTile) * kTile;
    return std::max((cols + 1L) * rows, tiled);
  }

  // element(row, k) and bias_of(row) return the values.
  template <class Element, class Bias>
  void pack(int rows_, int cols_, bool bf16_, float* storage, Element element, Bias bias_of) {
    pack(rows_, cols_, bf16_, storage, element);
    bias = storage + (bf16 ? tiled_size(rows, cols) / 2 : long(rows) * cols);
    if (!bf16) {
      for (int i = 0; i < rows; i++) bias[i] = bias_of(i);
      return;
    }
    for (int i = 0; i < round_up(rows, kTile); i++) std::fill_n(bias + i * kTile, kTile, i < rows ? bias_of(i) : 0.0f);
  }

  template <class Element>
  void pack(int rows_, int cols_, bool bf16_, float* storage, Element element) {
    rows = rows_, cols = cols_, data = storage;
    bf16 = bf16_ && cols <= kMaxTileDepth * kTileDepth;
    if (bf16) {
      Bf16* tiles = reinterpret_cast<Bf16*>(storage);
      for (int m = 0; m < rows; m += kTile)
        for (int k = 0; k < cols; k += kTileDepth)
          for (int i = m; i < m + kTile; i++)
            for (int j = k; j < k + kTileDepth; j++)
              *tiles++ = round_to_bf16(i < rows && j < cols ? element(i, j) : 0.0f);
      return;
    }
    for (int first = 0, count; first < rows; first += count) {
      count = tile_rows(rows - first);
      for (int k = 0; k < cols; k++)
        for (int i = 0; i < count; i++) *storage++ = element(first + i, k);
    }
  }
};

template <int ROWS, int VECS>
static __attribute__((noinline)) void product_tile(int cols, const float* a, const float* b, long ldb, float* c,
                                                   long ldc, const float* bias) {
  Vec sum[ROWS][VECS];
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < VECS; j++) sum[i][j] = broadcast(bias ? bias[i] : 0.0f);
  for (int k = 0; k < cols; k++, a += ROWS, b += ldb) {
    Vec x[VECS];
    UNROLL for (int j = 0; j < VECS; j++) x[j] = load(b + j * kLanes);
    UNROLL for (int i = 0; i < ROWS; i++) {
      const Vec w = broadcast(a[i]);
      UNROLL for (int j = 0; j < VECS; j++) sum[i][j] += w * x[j];
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < VECS; j++) store(c + i * ldc + j * kLanes, sum[i][j]);
}

template <int VECS>
INLINE void product_columns(const Matrix& a, const float* b, long ldb, float* c, long ldc) {
  const float* weights = a.data;
  for (int first = 0, count; first < a.rows; first += count) {
    count = tile_rows(a.rows - first);
    float* out = c + first * ldc;
    const float* tile_bias = a.bias ? a.bias + first : nullptr;
    switch (count) {
      case 6: product_tile<6, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias); break;
      case 5: product_tile<5, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias); break;
      case 4: product_tile<4, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias); break;
      case 3: product_tile<3, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias); break;
      case 2: product_tile<2, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias); break;
      default: product_tile<1, VECS>(a.cols, weights, b, ldb, out, ldc, tile_bias);
    }
    weights += count * a.cols;
  }
}

// c = a · b + bias for n pixels, a multiple of the vector size.
static void multiply(const Matrix& a, const float* b, long ldb, long n, float* c, long ldc) {
#ifdef LAMNET_AMX
  if (a.bf16) {
    const Bf16* tiles = reinterpret_cast<const Bf16*>(a.data);
    return multiply_bf16(a.rows, a.cols, tiles, b, ldb, n, c, ldc, a.bias);
  }
#endif
  long p = 0;
  for (; p + kTileVecs * kLanes <= n; p += kTileVecs * kLanes)
    product_columns<kTileVecs>(a, b + p, ldb, c + p, ldc);
  if (kTileVecs > 2)
    for (; p + 2 * kLanes <= n; p += 2 * kLanes) product_columns<2>(a, b + p, ldb, c + p, ldc);
  for (; p < n; p += kLanes) product_columns<1>(a, b + p, ldb, c + p, ldc);
}

template <int ROWS, int COLS>
static __attribute__((noinline)) void outer_tile(Block y, Block x, long lines, long n, float* out, long ld) {
  Vec sum[ROWS][COLS] = {};
  for (long line = 0; line < lines; line++, y.data += y.line, x.data += x.line) {
    for (long p = 0; p < n; p += kLanes) {
      Vec xs[COLS];
      UNROLL for (int j = 0; j < COLS; j++) xs[j] = load(x.data + j * x.channel + p);
      UNROLL for (int j = 0; j < COLS; j++) __builtin_prefetch(x.data + (COLS + j) * x.channel + p);
      UNROLL for (int i = 0; i < ROWS; i++) {
        const Vec ys = load(y.data + i * y.channel + p);
        UNROLL for (int j = 0; j < COLS; j++) sum[i][j] += ys * xs[j];
      }
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < COLS; j++) out[i * ld + j] += sum_lanes(sum[i][j]);
}

template <int ROWS>
INLINE void outer_rows(Block y, Block x, int cols, long lines, long n, float* out, long ld) {
  constexpr int kCols = kManyRegisters ? 4 : 3;
  int j = 0;
  for (; j + kCols <= cols; j += kCols)
    outer_tile<ROWS, kCols>(y, x.from(j), lines, n, out + j, ld);
  for (; j < cols; j++) outer_tile<ROWS, 1>(y, x.from(j), lines, n, out + j, ld);
}

// out[i][j] += Σ y[i] · x[j] over the pixels of a block of lines; `bf16`: whether the products are in bfloat16.
static void add_outer_product([[maybe_unused]] bool bf16, Block y, int rows, Block x, int cols, long lines, long n,
                              float* out) {
#ifdef LAMNET_AMX
  if (bf16) return add_outer_product_bf16(y, rows, x, cols, lines, n, out);
#endif
  if (y.line == n && x.line == n) n *= lines, lines = 1;
  for (int i = 0, count; i < rows; i += count, y.data += count * y.channel, out += count * cols) {
    count = kManyRegisters ? tile_rows(rows - i) : rows - i >= 4 ? 4 : 1;
    if (count == 6) outer_rows<6>(y, x, cols, lines, n, out, cols);
    else if (count == 4) outer_rows<4>(y, x, cols, lines, n, out, cols);
    else count = 1, outer_rows<1>(y, x, cols, lines, n, out, cols);
  }
}

// out[c] += Σ y[c] over the pixels of a block of lines.
static void add_sums(Block y, int channels, long lines, long n, float* out) {
  for (int first = 0, count; first < channels; first += count) {
    count = channels - first >= 4 ? 4 : 1;  // independent sums
    Vec sums[4] = {};
    for (long line = 0; line < lines; line++)
      for (long p = 0; p < n; p += kLanes) {
        const float* pixel = y.data + line * y.line + first * y.channel + p;
        if (count == 4) UNROLL for (int i = 0; i < 4; i++) sums[i] += load(pixel + i * y.channel);
        else sums[0] += load(pixel);
      }
    for (int i = 0; i < count; i++) out[first + i] += sum_lanes(sums[i]);
  }
}

}  // namespace lamnet
