// Small matrix products: the channels of each pixel times weights, and sums of outer products over pixels.
//
// Lines are pixels × channels: channel c of pixel i is at i · pitch + c. Vectors span channels, of which there are a
// multiple of the vector size: additional ones are 0 or ignored.
#pragma once

#include <algorithm>

#include "bf16.h"

namespace lamnet {

// Adjacent pixels of a row or column.
struct Pixels {
  const float* data = nullptr;
  long pitch = 0;

  const float* at(long i) const { return data + i * pitch; }
};

// Allocates from a buffer, or measures the size of the buffer if it is null.
class Arena {
 public:
  explicit Arena(float* buffer) : begin_(buffer) {}

  float* take(long n) {
    float* result = begin_ ? begin_ + used_ : nullptr;
    used_ += round_up(n, 16);
    return result;
  }

  long used() const { return used_; }

 private:
  float* begin_;
  long used_ = 0;
};

constexpr int kTileRows = 6;
constexpr int kTileVecs = kManyRegisters ? 4 : 2;

// Rows of the next tile of a product, given the number of rows left.
constexpr int tile_rows(long left) {
  return left >= kTileRows && left != 7 && left != 8 ? kTileRows : left >= 4 ? 4 : int(left);
}

// Weights and bias, packed by panels of vectors: element (k, column) of a panel is at k · (columns of the panel) +
// column. In bfloat16, in tiles of 32 × 16 elements, with adjacent pairs of rows.
struct Matrix {
  int rows = 0, cols = 0;  // input and output channels
  bool bf16 = false;
  float *data = nullptr, *bias = nullptr;

  // Size in floats.
  static long size(int rows, int cols) { return (round_up(rows, kTileDepth) + 1) * round_up(cols, kTile); }

  // element(row, column) and bias_of(column) return the values.
  template <class Element, class Bias>
  void pack(int rows_, int cols_, bool bf16_, Arena& arena, Element element, Bias bias_of) {
    rows = rows_, cols = int(round_up(cols_)), data = arena.take(size(rows_, cols_));
    if (!data) return;
    float* storage = data;
    bf16 = bf16_ && rows <= kMaxTileDepth * kTileDepth;
    bias = storage + round_up(rows, kTileDepth) * round_up(cols, kTile);
    for (int j = 0; j < cols; j++) bias[j] = j < cols_ ? bias_of(j) : 0.0f;
    auto value = [&](int k, int j) { return k < rows && j < cols_ ? element(k, j) : 0.0f; };
    if (bf16) {
      Bf16* tiles = reinterpret_cast<Bf16*>(storage);
      for (int j = 0; j < cols; j += kTile)
        for (int k = 0; k < rows; k += kTileDepth)
          for (int pair = k; pair < k + kTileDepth; pair += 2)
            for (int i = j; i < j + kTile; i++)
              for (int row : {pair, pair + 1}) *tiles++ = round_to_bf16(value(row, i));
      return;
    }
    for (int first = 0, count; first < cols; first += count) {
      count = panel(cols - first) * kLanes;
      for (int k = 0; k < rows; k++)
        for (int j = first; j < first + count; j++) *storage++ = value(k, j);
    }
  }

  template <class Element>
  void pack(int rows_, int cols_, bool bf16_, Arena& arena, Element element) {
    pack(rows_, cols_, bf16_, arena, element, [](int) { return 0.0f; });
  }

  // Vectors of the next panel, given the number of columns left.
  static int panel(int left) { return left >= kTileVecs * kLanes ? kTileVecs : left >= 2 * kLanes ? 2 : 1; }
};

template <int PIXELS, int VECS>
static __attribute__((noinline)) void product_tile(int rows, const float* weights, const float* bias, Pixels x,
                                                   float* out, long pitch) {
  Vec sum[PIXELS][VECS];
  UNROLL for (int i = 0; i < PIXELS; i++)
    UNROLL for (int j = 0; j < VECS; j++) sum[i][j] = load(bias + j * kLanes);
  for (int k = 0; k < rows; k++, weights += VECS * kLanes) {
    Vec w[VECS];
    UNROLL for (int j = 0; j < VECS; j++) w[j] = load(weights + j * kLanes);
    UNROLL for (int i = 0; i < PIXELS; i++) {
      const Vec value = broadcast(x.data[i * x.pitch + k]);
      UNROLL for (int j = 0; j < VECS; j++) sum[i][j] += value * w[j];
    }
  }
  UNROLL for (int i = 0; i < PIXELS; i++)
    UNROLL for (int j = 0; j < VECS; j++) store(out + i * pitch + j * kLanes, sum[i][j]);
}

template <int VECS>
INLINE void product_panel(int rows, const float* weights, const float* bias, Pixels x, long n, float* out, long pitch) {
  for (long p = 0, count; p < n; p += count) {
    count = tile_rows(n - p);
    const Pixels tile = {x.at(p), x.pitch};
    float* result = out + p * pitch;
    switch (count) {
      case 6: product_tile<6, VECS>(rows, weights, bias, tile, result, pitch); break;
      case 4: product_tile<4, VECS>(rows, weights, bias, tile, result, pitch); break;
      case 3: product_tile<3, VECS>(rows, weights, bias, tile, result, pitch); break;
      case 2: product_tile<2, VECS>(rows, weights, bias, tile, result, pitch); break;
      default: product_tile<1, VECS>(rows, weights, bias, tile, result, pitch);
    }
  }
}

// out = x · weights + bias for n pixels.
static void multiply(const Matrix& m, Pixels x, long n, float* out, long pitch) {
#ifdef LAMNET_AMX
  if (m.bf16) {
    const Bf16* tiles = reinterpret_cast<const Bf16*>(m.data);
    return multiply_bf16(m.rows, m.cols, tiles, m.bias, x.data, x.pitch, n, out, pitch);
  }
#endif
  const float* weights = m.data;
  for (int j = 0, vecs; j < m.cols; j += vecs * kLanes, weights += m.rows * vecs * kLanes) {
    vecs = Matrix::panel(m.cols - j);
    if (vecs == kTileVecs) product_panel<kTileVecs>(m.rows, weights, m.bias + j, x, n, out + j, pitch);
    else if (vecs == 2) product_panel<2>(m.rows, weights, m.bias + j, x, n, out + j, pitch);
    else product_panel<1>(m.rows, weights, m.bias + j, x, n, out + j, pitch);
  }
}

template <int ROWS, int VECS>
static __attribute__((noinline)) void outer_tile(Pixels y, Pixels x, long n, float* out, long pitch) {
  Vec sum[ROWS][VECS] = {};
  for (long p = 0; p < n; p++, y.data += y.pitch, x.data += x.pitch) {
    Vec values[VECS];
    UNROLL for (int j = 0; j < VECS; j++) values[j] = load(x.data + j * kLanes);
    UNROLL for (int i = 0; i < ROWS; i++) {
      const Vec scale = broadcast(y.data[i]);
      UNROLL for (int j = 0; j < VECS; j++) sum[i][j] += scale * values[j];
    }
  }
  UNROLL for (int i = 0; i < ROWS; i++)
    UNROLL for (int j = 0; j < VECS; j++) add(out + i * pitch + j * kLanes, sum[i][j]);
}

template <int VECS>
INLINE void outer_columns(Pixels y, int rows, Pixels x, long n, float* out, long pitch) {
  for (int i = 0, count; i < rows; i += count, y.data += count, out += count * pitch) {
    count = tile_rows(rows - i);
    switch (count) {
      case 6: outer_tile<6, VECS>(y, x, n, out, pitch); break;
      case 4: outer_tile<4, VECS>(y, x, n, out, pitch); break;
      default: count = 1, outer_tile<1, VECS>(y, x, n, out, pitch);
    }
  }
}

// Size of the sums of outer products, in floats.
constexpr long outer_size(long rows, long cols) { return round_up(rows, kTile) * cols; }

// out[i][j] += Σ y[i] · x[j] over n pixels; `bf16`: whether the products are in bfloat16.
static void add_outer_product([[maybe_unused]] bool bf16, Pixels y, int rows, Pixels x, int cols, long n, float* out) {
#ifdef LAMNET_AMX
  if (bf16) return add_outer_product_bf16(y.data, y.pitch, rows, x.data, x.pitch, cols, n, out);
#endif
  for (int j = 0, vecs; j < cols; j += vecs * kLanes) {
    vecs = Matrix::panel(cols - j);
    const Pixels columns = {x.data + j, x.pitch};
    if (vecs == kTileVecs) outer_columns<kTileVecs>(y, rows, columns, n, out + j, cols);
    else if (vecs == 2) outer_columns<2>(y, rows, columns, n, out + j, cols);
    else outer_columns<1>(y, rows, columns, n, out + j, cols);
  }
}

// Σ a[i] · b[i].
INLINE float dot(const float* a, const float* b, int n) {
  Vec sums = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) sums += load(a + i) * load(b + i);
  float sum = sum_lanes(sums);
  for (; i < n; i++) sum += a[i] * b[i];
  return sum;
}

// out[c] += Σ x[c] over n pixels.
static void add_sums(Pixels x, int channels, long n, float* out) {
  for (int c = 0; c < channels; c += kLanes) {
    Vec sums[4] = {};  // independent: additions overlap
    long p = 0;
    for (; p + 4 <= n; p += 4) UNROLL for (int i = 0; i < 4; i++) sums[i] += load(x.at(p + i) + c);
    for (; p < n; p++) sums[0] += load(x.at(p) + c);
    add(out + c, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
}

}  // namespace lamnet
