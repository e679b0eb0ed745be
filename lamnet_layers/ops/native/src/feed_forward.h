// The feed-forward sub-block: x + α · DGFN(norm(x)), forward and backward. Norm and residual are optional.
#pragma once

#include "mixer.h"

namespace lamnet {

struct FeedForwardConfig {
  int32_t dim, hidden;  // hidden: channels of each half
  float eps;
  int32_t bf16;  // whether the products are in bfloat16
};

enum FeedForwardParameter {
  kFfNormWeight, kFfNormBias, kFfInWeight, kFfInBias, kFfKernel, kFfKernelBias, kFfOutWeight, kFfOutBias, kFfAlpha,
  kFeedForwardParameters
};

struct FeedForwardWeights {
  int dim, hidden, both;  // both halves
  float eps;
  bool norm, residual, bf16;
  Matrix in, out, in_transposed, out_transposed;
  const float *kernel, *kernel_bias;
  float* flipped;

  FeedForwardWeights(const FeedForwardConfig& config, const float* const* p, Arena& arena, bool backward) {
    dim = config.dim, hidden = config.hidden, both = 2 * hidden, eps = config.eps, bf16 = config.bf16;
    norm = p[kFfNormWeight], residual = p[kFfAlpha];
    float* storage[4];
    const long size = std::max(Matrix::size(dim, both), Matrix::size(both, dim));
    for (int i = 0; i < (backward ? 4 : 2); i++) storage[i] = arena.take(size);
    flipped = arena.take(9 * both);
    if (!flipped) return;
    kernel = p[kFfKernel], kernel_bias = p[kFfKernelBias];
    const float *first = p[kFfInWeight], *last = p[kFfOutWeight];
    auto gain = [&](int k) { return norm ? p[kFfNormWeight][k] : 1.0f; };
    auto alpha = [&](int n) { return residual ? p[kFfAlpha][n] : 1.0f; };
    auto in_bias = [&](int n) {
      float sum = p[kFfInBias][n];
      for (int k = 0; norm && k < dim; k++) sum += first[n * dim + k] * p[kFfNormBias][k];
      return sum;
    };
    auto out_bias = [&](int n) { return p[kFfOutBias][n] * alpha(n); };
    in.pack(both, dim, bf16, storage[0], [&](int n, int k) { return first[n * dim + k] * gain(k); }, in_bias);
    out.pack(dim, both, bf16, storage[1], [&](int n, int k) { return last[n * both + k] * alpha(n); }, out_bias);
    if (!backward) return;
    in_transposed.pack(dim, both, bf16, storage[2], [&](int n, int k) { return first[k * dim + n] * gain(n); });
    out_transposed.pack(both, dim, bf16, storage[3], [&](int n, int k) { return last[k * both + n] * alpha(k); });
    for (int c = 0; c < both; c++)
      for (int t = 0; t < 9; t++) flipped[c * 9 + t] = kernel[c * 9 + 8 - t];
  }
};

// 3×3 depthwise convolution of a channel, from three lines whose first pixel is the left neighbor.
static void convolve3x3(const float* above, const float* line, const float* below, const float* kernel, float bias,
                        long n, float* out) {
  const float* lines[3] = {above, line, below};
  Vec taps[9];
  UNROLL for (int t = 0; t < 9; t++) taps[t] = broadcast(kernel[t]);
  for (long p = 0; p < n; p += kLanes) {
    Vec sums[3] = {broadcast(bias)};
    UNROLL for (int r = 0; r < 3; r++)
      UNROLL for (int t = 0; t < 3; t++) sums[r] += taps[3 * r + t] * load(lines[r] + p + t);
    store(out + p, sums[0] + sums[1] + sums[2]);
  }
}

class FeedForwardForward {
 public:
  static constexpr long kStrip = 64;  // pixels of a row at a time

  FeedForwardForward(const FeedForwardWeights& weights, const Shape& shape) : w(weights), shape(shape) {}

  long scratch() const {
    constexpr long n = kStrip + 3 * kLanes;
    return n * (2 * w.dim + 4 * w.both) + 1024;
  }

  void run(const Team& team, const Map& x, const Map& out, float* buffer) const {
    for (long x0 = 0; x0 < shape.width; x0 += kStrip)
      strip(x, out, x0, team.begin(shape.height), team.end(shape.height), Arena(buffer));
  }

 private:
  const FeedForwardWeights& w;
  const Shape shape;

  void strip(const Map& x, const Map& out, long x0, long begin, long end, Arena arena) const {
    const long n = std::min(kStrip, shape.width - x0), np = round_up(n), pitch = np + 2 * kLanes;
    const long left = x0 > 0, right = x0 + n < shape.width, m = n + left + right, mp = round_up(m);
    float *input = arena.take(w.dim * mp), *gated = arena.take(w.both * np), *result = arena.take(w.dim * np);
    float* lines[3];  // column 0 is the left neighbor
    for (float*& line : lines) {
      line = arena.take(w.both * pitch + kLanes);
      std::memset(line, 0, (w.both * pitch + kLanes) * sizeof(float));
    }
    for (long y = begin - 1; y <= end && begin < end; y++) {
      float* line = lines[(y + 3) % 3];
      if (y < 0 || y >= shape.height) {
        std::memset(line, 0, w.both * pitch * sizeof(float));
      } else {
        copy_row(x, w.dim, y, x0 - left, x0 + n + right, input, mp, mp);
        if (w.norm) normalize(input, mp, w.dim, mp, w.eps, nullptr, nullptr);
        multiply(w.in, input, mp, mp, line + 1 - left, pitch);
        if (!left) clear_columns(line, pitch, w.both, 0, 1);
        clear_columns(line, pitch, w.both, 1 + n + right, pitch);
      }
      if (y <= begin) continue;
      const float* rows[3] = {lines[(y + 1) % 3], lines[(y + 2) % 3], lines[y % 3]};
      gate(rows, pitch, np, gated);
      multiply(w.out, gated, np, np, result, np);
      write_row(result, np, w.dim, n, w.residual ? x : Map{}, out, y - 1, x0);
    }
  }

  void gate(const float* const rows[3], long pitch, long n, float* out) const {
    for (int c = 0; c < w.hidden; c++) {
      const int other = c + w.hidden;
      float *x1 = out + c * n, *x2 = out + other * n;
      for (float* x : {x1, x2}) {
        const int channel = x == x1 ? c : other;
        const long offset = channel * pitch;
        convolve3x3(rows[0] + offset, rows[1] + offset, rows[2] + offset, w.kernel + 9 * channel,
                    w.kernel_bias[channel], n, x);
      }
      for (long p = 0; p < n; p += kLanes) {
        const Vec v1 = load(x1 + p);
        Vec density;
        const Vec u = v1 * normal_cdf(v1, &density);
        store(x1 + p, u * v1);
        store(x2 + p, u * load(x2 + p));
      }
    }
  }
};

struct FeedForwardGradients {
  float *in, *in_bias, *kernel, *kernel_bias, *out, *out_bias;

  FeedForwardGradients(const FeedForwardWeights& w, Arena&& arena) : FeedForwardGradients(w, arena) {}
  FeedForwardGradients(const FeedForwardWeights& w, Arena& arena) {
    in = arena.take(w.both * w.dim), in_bias = arena.take(w.both);
    kernel = arena.take(9 * w.both), kernel_bias = arena.take(w.both);
    out = arena.take(w.dim * w.both), out_bias = arena.take(w.dim);
  }

  void store(const FeedForwardWeights& w, const float* const* p, float* const* g) const {
    MixerGradients::store_normalized(w.both, w.dim, p[kFfInWeight], p[kFfNormWeight], p[kFfNormBias], in, in_bias,
                                     g + kFfNormWeight, g + kFfInWeight);
    MixerGradients::store_scaled(w.dim, w.both, p[kFfOutWeight], p[kFfOutBias], p[kFfAlpha], out, out_bias,
                                 g + kFfOutWeight, g[kFfAlpha]);
    std::memcpy(g[kFfKernel], kernel, 9 * w.both * sizeof(float));
    std::memcpy(g[kFfKernelBias], kernel_bias, w.both * sizeof(float));
  }
};

// Maps of one image between the stages of the backward pass. The hidden features are computed again: keeping them from
// the forward pass takes as long, and much memory.
struct FeedForwardMaps {
  static constexpr int kBorder = 8;  // floats that a row is longer than for other maps

  long pitch;
  Map hidden, grad;  // depthwise convolution: its input, and the gradient of its output; zero borders left and right
  Map norm;          // mean and scale

  FeedForwardMaps(const FeedForwardWeights& w, const Map& map)
      : pitch(map.channel), hidden(map), grad(map.from(w.both)), norm(map.from(2 * w.both)) {}

  static int channels(int hidden) { return odd(4 * hidden + 2); }
};

// The backward pass needs only the input of the forward pass.
class FeedForwardBackward {
 public:
  FeedForwardBackward(const FeedForwardWeights& weights, const Shape& shape)
      : w(weights), shape(shape), n(round_up(shape.width)),
        rows(std::min<long>(shape.height, std::max<long>(1, 512 / n))),
        zeros(w.both * (n + FeedForwardMaps::kBorder) + 2 * kLanes) {}

  long scratch() const { return block_pitch(rows, n) * 2 * (w.dim + w.both) + n * w.both + zeros + 4096; }

  void run(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, const FeedForwardMaps& maps,
           FeedForwardGradients& sums, float* buffer) const {
    team.for_each_block(shape.height, rows, [&](long y, long end) { expand(x, maps, y, end, Arena(buffer)); });
    team.sync();
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      gated(grad_out, maps, sums, y, end, Arena(buffer));
    });
    team.sync();
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      outer(x, grad_out, grad_x, maps, sums, y, end, Arena(buffer));
    });
    team.sync();
  }

 private:
  const FeedForwardWeights& w;
  const Shape shape;
  const long n, rows, zeros;

  void expand(const Map& x, const FeedForwardMaps& maps, long begin, long end, Arena arena) const {
    const long block = block_pitch(rows, n), pitch = maps.pitch;
    float* inputs = arena.take(w.dim * block);
    copy_rows(x, w.dim, begin, end, shape.width, inputs, block, n);
    for (long y = begin; y < end; y++) {
      float *input = inputs + (y - begin) * n, *mean = maps.norm.at(y), *out = maps.hidden.at(y);
      if (w.norm) normalize(input, block, w.dim, n, w.eps, mean, mean + pitch);
      multiply(w.in, input, block, n, out + 1, pitch);
      clear_borders(out, pitch);
    }
  }

  // Sets the columns of a row left and right of the image to 0.
  void clear_borders(float* row, long pitch) const {
    for (int c = 0; c < w.both; c++) {
      row[c * pitch] = 0;
      clear_line(row + c * pitch + 1 + shape.width, pitch - 1 - shape.width);
    }
  }

  void gated(const Map& grad_out, const FeedForwardMaps& maps, FeedForwardGradients& sums, long begin, long end,
             Arena arena) const {
    const long block = block_pitch(rows, n), pitch = maps.pitch;
    float *result = arena.take(w.dim * block), *product = arena.take(w.both * block), *d = arena.take(w.both * n);
    float* zero = arena.take(zeros);
    std::memset(zero, 0, zeros * sizeof(float));
    copy_rows(grad_out, w.dim, begin, end, shape.width, result, block, n);
    for (long y = begin; y < end; y++) {
      float* q = product + (y - begin) * n;
      multiply(w.out_transposed, result + (y - begin) * n, block, n, d, n);
      const float* lines[3] = {y > 0 ? maps.hidden.at(y - 1) : zero, maps.hidden.at(y),
                               y + 1 < shape.height ? maps.hidden.at(y + 1) : zero};
      for (int c = 0; c < w.hidden; c++) {
        const int other = c + w.hidden;
        float *q1 = q + c * block, *q2 = q + other * block;
        for (float* x : {q1, q2}) {
          const int channel = x == q1 ? c : other;
          const long offset = channel * pitch;
          convolve3x3(lines[0] + offset, lines[1] + offset, lines[2] + offset, w.kernel + 9 * channel,
                      w.kernel_bias[channel], n, x);
        }
        float *out1 = maps.grad.at(y) + c * pitch, *out2 = maps.grad.at(y) + other * pitch;
        for (long p = 0; p < n; p += kLanes) {
          const Vec x1 = load(q1 + p), x2 = load(q2 + p);
          Vec density;
          const Vec cdf = normal_cdf(x1, &density), u = x1 * cdf;
          store(q1 + p, u * x1);
          store(q2 + p, u * x2);
          const Vec g1 = load(d + c * n + p), g2 = load(d + other * n + p);
          store(out1 + 1 + p, g1 * u + (g1 * x1 + g2 * x2) * (cdf + x1 * density));
          store(out2 + 1 + p, g2 * u);
        }
      }
      clear_borders(maps.grad.at(y), pitch);
    }
    add_outer_product(w.bf16, {result, block, n}, w.dim, {product, block, n}, w.both, end - begin, n, sums.out);
    add_sums({result, block, n}, w.dim, end - begin, n, sums.out_bias);
  }

  void outer(const Map& x, const Map& grad_out, const Map& grad_x, const FeedForwardMaps& maps,
             FeedForwardGradients& sums, long begin, long end, Arena arena) const {
    const long block = block_pitch(rows, n), pitch = maps.pitch;
    float *inputs = arena.take(w.dim * block), *hidden = arena.take(w.both * block);
    float* result = arena.take(w.dim * block);
    float* zero = arena.take(zeros);
    std::memset(zero, 0, zeros * sizeof(float));
    auto row = [&](const Map& map, long y) { return y >= 0 && y < shape.height ? map.at(y) : zero; };
    for (int c = 0; c < w.both; c++) kernel_gradient(maps, sums, c, begin, end, row);
    copy_rows(x, w.dim, begin, end, shape.width, inputs, block, n);
    for (long y = begin; y < end; y++) {
      float *dh = hidden + (y - begin) * n, *normalized = inputs + (y - begin) * n, *grad_in = result + (y - begin) * n;
      const float* rows[3] = {row(maps.grad, y - 1), row(maps.grad, y), row(maps.grad, y + 1)};
      for (int c = 0; c < w.both; c++) {
        const long offset = c * pitch;
        convolve3x3(rows[0] + offset, rows[1] + offset, rows[2] + offset, w.flipped + 9 * c, 0.0f, n, dh + c * block);
      }
      clear_columns(dh, block, w.both, shape.width, n);
      const float *mean = maps.norm.at(y), *scale = mean + maps.norm.channel;
      if (w.norm)
        for (int c = 0; c < w.dim; c++)
          for (long p = 0; p < n; p += kLanes)
            store(normalized + c * block + p, (load(normalized + c * block + p) - load(mean + p)) * load(scale + p));
      multiply(w.in_transposed, dh, block, n, grad_in, block);
      if (w.norm) normalize_backward(normalized, grad_in, block, w.dim, n, scale);
    }
    write_rows(result, block, n, w.dim, shape.width, w.residual ? grad_out : Map{}, grad_x, begin, end);
    add_outer_product(w.bf16, {hidden, block, n}, w.both, {inputs, block, n}, w.dim, end - begin, n, sums.in);
    add_sums({hidden, block, n}, w.both, end - begin, n, sums.in_bias);
  }

  template <class Row>
  void kernel_gradient(const FeedForwardMaps& maps, FeedForwardGradients& sums, int c, long begin, long end,
                       Row row) const {
    Vec taps[9] = {}, bias = {};
    for (long y = begin; y < end; y++) {
      const float* g = maps.grad.at(y) + c * maps.pitch + 1;
      const float* lines[3] = {row(maps.hidden, y - 1) + c * maps.pitch, row(maps.hidden, y) + c * maps.pitch,
                               row(maps.hidden, y + 1) + c * maps.pitch};
      for (long p = 0; p < n; p += kLanes) {
        const Vec v = load(g + p);
        bias += v;
        UNROLL for (int r = 0; r < 3; r++)
          UNROLL for (int t = 0; t < 3; t++) taps[3 * r + t] += v * load(lines[r] + p + t);
      }
    }
    for (int t = 0; t < 9; t++) sums.kernel[9 * c + t] += sum_lanes(taps[t]);
    sums.kernel_bias[c] += sum_lanes(bias);
  }
};

}  // namespace lamnet
