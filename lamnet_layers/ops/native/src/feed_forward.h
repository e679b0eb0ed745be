// The feed-forward sub-block: x + α · DGFN(norm(x)), forward and backward. Norm and residual are optional.
//
// Both halves of the hidden features are padded to a multiple of the vector size.
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

// Distance between the pixels of a row of hidden maps: with a power of two, they would share a few cache sets.
constexpr int hidden_map_pitch(int hidden_pitch) { return hidden_pitch + 16; }

// 3×3 depthwise convolution of n pixels, from three rows that start with the left neighbor; taps are `step` apart.
template <class Pitch>
static void convolve3x3(const float* const rows[3], Pitch hidden_pitch, const float* kernel, long step,
                        const float* bias, long n, float* out) {
  const long pitch = hidden_map_pitch(hidden_pitch);
  for (int c = 0; c < hidden_pitch; c += kLanes) {
    Vec taps[9];
    UNROLL for (int t = 0; t < 9; t++) taps[t] = load(kernel + t * step + c);
    const Vec start = bias ? load(bias + c) : Vec{};
    for (long p = 0; p < n; p++) {
      Vec sums[3] = {start};
      UNROLL for (int r = 0; r < 3; r++)
        UNROLL for (int t = 0; t < 3; t++) sums[r] += taps[3 * r + t] * load(rows[r] + (p + t) * pitch + c);
      store(out + p * hidden_pitch + c, sums[0] + sums[1] + sums[2]);
    }
  }
}

struct FeedForwardWeights {
  int dim, hidden, both;  // both halves
  int half, hidden_pitch;  // padded, one half and both
  bool norm, residual, bf16;
  Norm normalizer;
  Matrix in, out, in_transposed, out_transposed;
  float *kernel, *kernel_bias;

  FeedForwardWeights(const FeedForwardConfig& config, const float* const* p, Arena& arena, bool backward)
      : dim(config.dim), hidden(config.hidden), both(2 * hidden), half(int(round_up(hidden))), hidden_pitch(2 * half),
        norm(p[kFfNormWeight]), residual(p[kFfAlpha]), bf16(config.bf16), normalizer(dim, config.eps) {
    kernel = arena.take(9 * hidden_pitch), kernel_bias = arena.take(hidden_pitch);
    const float *first = p[kFfInWeight], *last = p[kFfOutWeight];
    auto gain = [&](int k) { return norm ? p[kFfNormWeight][k] : 1.0f; };
    auto alpha = [&](int n) { return residual ? p[kFfAlpha][n] : 1.0f; };
    auto in_bias = [&](int index) {
      const int n = channel(index);
      if (n < 0) return 0.0f;
      return p[kFfInBias][n] + (norm ? dot(first + n * dim, p[kFfNormBias], dim) : 0.0f);
    };
    auto expanding = [&](int k, int index) {
      return channel(index) < 0 ? 0.0f : first[channel(index) * dim + k] * gain(k);
    };
    auto reducing = [&](int index, int n) {
      return channel(index) < 0 ? 0.0f : last[n * both + channel(index)] * alpha(n);
    };
    if (kernel)
      for (int index = 0; index < hidden_pitch; index++) {
        const int c = channel(index);
        for (int t = 0; t < 9; t++) kernel[t * hidden_pitch + index] = c < 0 ? 0.0f : p[kFfKernel][c * 9 + t];
        kernel_bias[index] = c < 0 ? 0.0f : p[kFfKernelBias][c];
      }
    in.pack(dim, hidden_pitch, bf16, arena, expanding, in_bias);
    if (backward) {
      in_transposed.pack(hidden_pitch, dim, bf16, arena, [&](int index, int n) { return expanding(n, index); });
      out_transposed.pack(dim, hidden_pitch, bf16, arena, [&](int k, int index) { return reducing(index, k); });
    } else {
      out.pack(hidden_pitch, dim, bf16, arena, reducing, [&](int n) { return p[kFfOutBias][n] * alpha(n); });
    }
  }

  int dim_pitch() const { return int(round_up(dim)); }
  int map_pitch() const { return hidden_map_pitch(hidden_pitch); }

  // Calls work with the pitch of the hidden features, as a constant for the published networks.
  template <class Work>
  void with_hidden_pitch(Work work) const {
    if (hidden_pitch == 128) work(std::integral_constant<int, 128>());
    else work(hidden_pitch);
  }

  void convolve(const float* const rows[3], long n, float* result) const {
    with_hidden_pitch([&](auto pitch) { convolve3x3(rows, pitch, kernel, pitch, kernel_bias, n, result); });
  }

  void convolve_transposed(const float* const rows[3], long n, float* result) const {
    with_hidden_pitch([&](auto pitch) {
      convolve3x3(rows, pitch, kernel + 8 * pitch, -long(pitch), nullptr, n, result);
    });
  }

  int index(int channel) const { return channel < hidden ? channel : half + channel - hidden; }
  int channel(int index) const {
    const int c = index < half ? index : index - half;
    return c >= hidden ? -1 : index < half ? c : c + hidden;
  }

  // Hidden features of n pixels; returns the normalized input, in its place or in `normalized`.
  Pixels expand(Pixels x, long n, float* statistics, float* normalized, float* out, long pitch) const {
    if (norm) {
      normalizer.statistics(x, n, statistics);
      x = normalizer.normalize(x, statistics, n, normalized);
    }
    multiply(in, x, n, out, pitch);
    return x;
  }
};

class FeedForwardForward {
 public:
  static constexpr long kStrip = 48;  // pixels of a row at a time

  FeedForwardForward(const FeedForwardWeights& weights, const Shape& shape) : w(weights), shape(shape) {}

  struct Memory {
    float *input, *norm, *features, *result, *lines[3];

    Memory(const FeedForwardForward& layer, Arena& arena) {
      const FeedForwardWeights& w = layer.w;
      constexpr long n = kStrip + 2;
      input = arena.take(n * w.dim_pitch()), norm = arena.take(2 * n);
      features = arena.take(kStrip * w.hidden_pitch), result = arena.take(kStrip * w.dim_pitch());
      for (float*& line : lines) line = arena.take(n * w.map_pitch());
    }
  };

  void run(const Team& team, const Map& x, const Map& out, Memory&& memory) const {
    for (long x0 = 0; x0 < shape.width; x0 += kStrip)
      strip(x, out, x0, team.begin(shape.height), team.end(shape.height), memory);
  }

 private:
  const FeedForwardWeights& w;
  const Shape shape;

  void strip(const Map& x, const Map& out, long x0, long begin, long end, Memory& memory) const {
    const long n = std::min(kStrip, shape.width - x0), pitch = w.map_pitch();
    const long left = x0 > 0, right = x0 + n < shape.width, m = n + left + right;
    for (long y = begin - 1; y <= end && begin < end; y++) {
      float* line = memory.lines[(y + 3) % 3];
      if (y < 0 || y >= shape.height) {
        clear(line, (n + 2) * pitch);
      } else {
        if (!left) clear(line, pitch);
        if (!right) clear(line + (n + 1) * pitch, pitch);
        const Pixels input = read_row(x, y, x0 - left, m, w.dim, memory.input);
        w.expand(input, m, memory.norm, memory.input, line + (1 - left) * pitch, pitch);
      }
      if (y <= begin) continue;
      const float* rows[3] = {memory.lines[(y + 1) % 3], memory.lines[(y + 2) % 3], memory.lines[y % 3]};
      w.convolve(rows, n, memory.features);
      gate(memory.features, n);
      const Map line_out = row_to_write(out, y - 1, x0, w.dim, memory.result);
      multiply(w.out, {memory.features, w.hidden_pitch}, n, line_out.data, line_out.column);
      if (w.residual) add_pixels(read_row(x, y - 1, x0, n, w.dim, memory.input), n, w.dim, line_out);
      write_row(line_out, out, y - 1, x0, n, w.dim);
    }
  }

  void gate(float* features, long n) const {
    for (long p = 0; p < n; p++, features += w.hidden_pitch)
      for (int c = 0; c < w.half; c += kLanes) {
        const Vec x1 = load(features + c);
        Vec density;
        const Vec u = x1 * normal_cdf(x1, &density);
        store(features + c, u * x1);
        store(features + w.half + c, u * load(features + w.half + c));
      }
  }
};

struct FeedForwardGradients {
  float *in, *in_bias, *kernel, *kernel_bias, *out, *out_bias;

  FeedForwardGradients(const FeedForwardWeights& w, Arena& arena) {
    in = arena.take(outer_size(w.hidden_pitch, w.dim_pitch())), in_bias = arena.take(w.hidden_pitch);
    kernel = arena.take(9 * w.hidden_pitch), kernel_bias = arena.take(w.hidden_pitch);
    out = arena.take(outer_size(w.dim, w.hidden_pitch)), out_bias = arena.take(w.dim_pitch());
  }

  void store(const FeedForwardWeights& w, const float* const* p, float* const* g) const {
    MixerGradients::store_normalized(w.both, w.dim, p[kFfInWeight], p[kFfNormWeight], p[kFfNormBias],
                                     [&](int n, int k) { return in[w.index(n) * w.dim_pitch() + k]; },
                                     [&](int n) { return in_bias[w.index(n)]; }, g + kFfNormWeight, g + kFfInWeight);
    MixerGradients::store_scaled(w.dim, w.both, p[kFfOutWeight], p[kFfOutBias], p[kFfAlpha],
                                 [&](int n, int k) { return out[n * w.hidden_pitch + w.index(k)]; },
                                 [&](int n) { return out_bias[n]; }, g + kFfOutWeight, g[kFfAlpha]);
    for (int c = 0; c < w.both; c++) {
      for (int t = 0; t < 9; t++) g[kFfKernel][c * 9 + t] = kernel[t * w.hidden_pitch + w.index(c)];
      g[kFfKernelBias][c] = kernel_bias[w.index(c)];
    }
  }
};

// Line by line, as in the forward pass, and from its input only: keeping the hidden features takes as long as computing
// them again, and much memory.
class FeedForwardBackward {
 public:
  FeedForwardBackward(const FeedForwardWeights& weights, const Shape& shape) : w(weights), shape(shape) {}

  // A row of the image. Those of the depthwise convolution, its input and the gradient of its output, start and end with
  // a pixel of zeros.
  struct Line {
    float *input, *norm, *hidden, *grad;
    Pixels normalized;
  };

  struct Memory {
    Line lines[3];
    float *output, *features, *grad, *result;

    Memory(const FeedForwardBackward& layer, Arena& arena) {
      const FeedForwardWeights& w = layer.w;
      const long n = layer.shape.width;
      for (Line& line : lines) {
        line.input = arena.take(n * w.dim_pitch()), line.norm = arena.take(2 * n);
        line.hidden = arena.take((n + 2) * w.map_pitch()), line.grad = arena.take((n + 2) * w.map_pitch());
      }
      output = arena.take(n * w.dim_pitch()), result = arena.take(n * w.dim_pitch());
      features = arena.take(n * w.hidden_pitch), grad = arena.take(n * w.hidden_pitch);
    }

    Line& line(long y) { return lines[(y + 3) % 3]; }
  };

  // Rows next to those of the team are computed, too, as the depthwise convolution and its transpose need them.
  void run(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, FeedForwardGradients& sums,
           Memory&& memory) const {
    const long begin = team.begin(shape.height), end = team.end(shape.height);
    if (begin == end) return;
    for (Line& line : memory.lines)
      for (float* map : {line.hidden, line.grad})
        for (long i : {0L, shape.width + 1}) clear(map + i * w.map_pitch(), w.map_pitch());
    for (long y = begin - 2; y < end + 2; y++) {
      expand(x, y, memory);
      if (y >= begin) {
        const Pixels output = exists(y - 1) ? read_row(grad_out, y - 1, 0, shape.width, w.dim, memory.output) : Pixels();
        gate(output, y - 1, memory);
        if (y > begin && y <= end) add_gradients(output, y - 1, sums, memory);
      }
      if (y >= begin + 2) project(grad_out, grad_x, y - 2, sums, memory);
    }
  }

 private:
  const FeedForwardWeights& w;
  const Shape shape;

  bool exists(long y) const { return 0 <= y && y < shape.height; }

  // Hidden features of a row.
  void expand(const Map& x, long y, Memory& memory) const {
    Line& line = memory.line(y);
    float* hidden = line.hidden + w.map_pitch();
    if (!exists(y)) return clear(hidden, shape.width * w.map_pitch());
    const Pixels input = read_row(x, y, 0, shape.width, w.dim, line.input);
    line.normalized = w.expand(input, shape.width, line.norm, line.input, hidden, w.map_pitch());
  }

  // Gated features of a row, and the gradient of the output of the depthwise convolution.
  void gate(Pixels output, long y, Memory& memory) const {
    const long n = shape.width, pitch = w.map_pitch();
    float* grad = memory.line(y).grad + pitch;
    if (!exists(y)) return clear(grad, n * pitch);
    const float* rows[3] = {memory.line(y - 1).hidden, memory.line(y).hidden, memory.line(y + 1).hidden};
    w.convolve(rows, n, memory.features);
    multiply(w.out_transposed, output, n, memory.grad, w.hidden_pitch);
    for (long p = 0; p < n; p++) {
      float *first = memory.features + p * w.hidden_pitch, *second = first + w.half;
      const float* g = memory.grad + p * w.hidden_pitch;
      for (int c = 0; c < w.half; c += kLanes) {
        const Vec x1 = load(first + c), x2 = load(second + c), g1 = load(g + c), g2 = load(g + w.half + c);
        Vec density;
        const Vec cdf = normal_cdf(x1, &density), u = x1 * cdf;
        store(first + c, u * x1);
        store(second + c, u * x2);
        store(grad + p * pitch + c, g1 * u + (g1 * x1 + g2 * x2) * (cdf + x1 * density));
        store(grad + p * pitch + w.half + c, g2 * u);
      }
    }
  }

  // Adds the parameter gradients of the last projection and of the depthwise convolution.
  void add_gradients(Pixels output, long y, FeedForwardGradients& sums, Memory& memory) const {
    const long n = shape.width;
    add_outer_product(w.bf16, output, w.dim, {memory.features, w.hidden_pitch}, w.hidden_pitch, n, sums.out);
    add_sums(output, w.dim_pitch(), n, sums.out_bias);
    const float* rows[3] = {memory.line(y - 1).hidden, memory.line(y).hidden, memory.line(y + 1).hidden};
    const float* grad = memory.line(y).grad + w.map_pitch();
    w.with_hidden_pitch([&](auto hidden_pitch) { kernel_gradient(rows, grad, hidden_pitch, n, sums); });
  }

  template <class Pitch>
  void kernel_gradient(const float* const rows[3], const float* grad, Pitch hidden_pitch, long n,
                       FeedForwardGradients& sums) const {
    const long pitch = hidden_map_pitch(hidden_pitch);
    for (int c = 0; c < hidden_pitch; c += kLanes) {
      Vec taps[9] = {}, bias = {};
      for (long p = 0; p < n; p++) {
        const Vec g = load(grad + p * pitch + c);
        bias += g;
        UNROLL for (int r = 0; r < 3; r++)
          UNROLL for (int t = 0; t < 3; t++) taps[3 * r + t] += g * load(rows[r] + (p + t) * pitch + c);
      }
      UNROLL for (int t = 0; t < 9; t++) add(sums.kernel + t * hidden_pitch + c, taps[t]);
      add(sums.kernel_bias + c, bias);
    }
  }

  // Gradient of the input, and those of the parameters of the first projection.
  void project(const Map& grad_out, const Map& grad_x, long y, FeedForwardGradients& sums, Memory& memory) const {
    const long n = shape.width;
    const Line& row = memory.line(y);
    const float* rows[3] = {memory.line(y - 1).grad, row.grad, memory.line(y + 1).grad};
    w.convolve_transposed(rows, n, memory.grad);
    const Pixels hidden_grad = {memory.grad, w.hidden_pitch};
    add_outer_product(w.bf16, hidden_grad, w.hidden_pitch, row.normalized, w.dim_pitch(), n, sums.in);
    add_sums(hidden_grad, w.hidden_pitch, n, sums.in_bias);
    const Map line = row_to_write(grad_x, y, 0, w.dim, memory.result);
    multiply(w.in_transposed, hidden_grad, n, line.data, line.column);
    if (w.norm) w.normalizer.backward(row.normalized, row.norm, n, line);
    if (w.residual) add_pixels(read_row(grad_out, y, 0, n, w.dim, memory.output), n, w.dim, line);
    write_row(line, grad_x, y, 0, n, w.dim);
  }
};

}  // namespace lamnet
