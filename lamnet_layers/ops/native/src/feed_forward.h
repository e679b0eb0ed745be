// The feed-forward sub-block: x + α · DGFN(norm(x)), forward and backward. Norm and residual are optional.
//
// Lines of hidden features have the two halves at multiples of the vector size.
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
  int half, width;        // places of one half and of both
  bool norm, residual, bf16;
  Norm normalizer;
  Matrix in, out, in_transposed, out_transposed;
  float *kernel, *kernel_bias;

  FeedForwardWeights(const FeedForwardConfig& config, const float* const* p, Arena& arena, bool backward)
      : dim(config.dim), hidden(config.hidden), both(2 * hidden), half(int(round_up(hidden))), width(2 * half),
        norm(p[kFfNormWeight]), residual(p[kFfAlpha]), bf16(config.bf16), normalizer(dim, config.eps) {
    float* storage[4];
    const int shapes[][2] = {{dim, width}, {width, dim}, {width, dim}, {dim, width}};
    for (int i = 0; i < (backward ? 4 : 2); i++) storage[i] = arena.take(Matrix::size(shapes[i][0], shapes[i][1]));
    kernel = arena.take(9 * width), kernel_bias = arena.take(width);
    if (!kernel) return;
    const float *first = p[kFfInWeight], *last = p[kFfOutWeight];
    auto gain = [&](int k) { return norm ? p[kFfNormWeight][k] : 1.0f; };
    auto alpha = [&](int n) { return residual ? p[kFfAlpha][n] : 1.0f; };
    auto in_bias = [&](int place) {
      const int n = channel(place);
      float sum = n < 0 ? 0.0f : p[kFfInBias][n];
      for (int k = 0; norm && n >= 0 && k < dim; k++) sum += first[n * dim + k] * p[kFfNormBias][k];
      return sum;
    };
    auto expanding = [&](int k, int place) {
      return channel(place) < 0 ? 0.0f : first[channel(place) * dim + k] * gain(k);
    };
    auto reducing = [&](int place, int n) {
      return channel(place) < 0 ? 0.0f : last[n * both + channel(place)] * alpha(n);
    };
    in.pack(dim, width, bf16, storage[0], expanding, in_bias);
    out.pack(width, dim, bf16, storage[1], reducing, [&](int n) { return p[kFfOutBias][n] * alpha(n); });
    for (int place = 0; place < width; place++) {
      const int c = channel(place);
      for (int t = 0; t < 9; t++) kernel[t * width + place] = c < 0 ? 0.0f : p[kFfKernel][c * 9 + t];
      kernel_bias[place] = c < 0 ? 0.0f : p[kFfKernelBias][c];
    }
    if (!backward) return;
    in_transposed.pack(width, dim, bf16, storage[2], [&](int place, int n) { return expanding(n, place); });
    out_transposed.pack(dim, width, bf16, storage[3], [&](int k, int place) { return reducing(place, k); });
  }

  int dim_pitch() const { return int(round_up(dim)); }
  // Distance of the pixels of hidden maps: not a power of two, since the rows of a column would share a few cache sets.
  static constexpr int map_pitch(int width) { return width + 16; }
  int map_pitch() const { return map_pitch(width); }

  // Calls work with the width, as a constant for the published networks.
  template <class Work>
  void with_width(Work work) const {
    if (width == 128) work(std::integral_constant<int, 128>());
    else work(width);
  }

  int place(int channel) const { return channel < hidden ? channel : half + channel - hidden; }
  int channel(int place) const {
    const int c = place % half;
    return c >= hidden ? -1 : place < half ? c : c + hidden;
  }

  // Hidden features of n pixels.
  void expand(Pixels x, const float* statistics, long n, float* normalized, float* out, long pitch) const {
    if (norm) {
      normalizer.normalize(x, statistics, n, normalized, dim_pitch());
      x = {normalized, dim_pitch()};
    }
    multiply(in, x, n, out, pitch);
  }
};

// 3×3 depthwise convolution of n pixels, from three lines that start with the left neighbor; taps are `step` apart.
template <class Width>
static void convolve3x3(const float* const rows[3], Width width, const float* kernel, long step, const float* bias,
                        long n, float* out) {
  const long pitch = FeedForwardWeights::map_pitch(width);
  for (int c = 0; c < width; c += kLanes) {
    Vec taps[9];
    UNROLL for (int t = 0; t < 9; t++) taps[t] = load(kernel + t * step + c);
    const Vec start = bias ? load(bias + c) : Vec{};
    for (long p = 0; p < n; p++) {
      Vec sums[3] = {start};
      UNROLL for (int r = 0; r < 3; r++)
        UNROLL for (int t = 0; t < 3; t++) sums[r] += taps[3 * r + t] * load(rows[r] + (p + t) * pitch + c);
      store(out + p * width + c, sums[0] + sums[1] + sums[2]);
    }
  }
}

class FeedForwardForward {
 public:
  static constexpr long kStrip = 48;  // pixels of a row at a time

  FeedForwardForward(const FeedForwardWeights& weights, const Shape& shape) : w(weights), shape(shape) {}

  struct Memory {
    float *input, *norm, *normalized, *features, *result, *lines[3];

    Memory(const FeedForwardForward& layer, Arena&& arena) : Memory(layer, arena) {}
    Memory(const FeedForwardForward& layer, Arena& arena) {
      const FeedForwardWeights& w = layer.w;
      constexpr long n = kStrip + 2;
      input = arena.take(n * w.dim_pitch()), normalized = arena.take(n * w.dim_pitch()), norm = arena.take(2 * n);
      features = arena.take(kStrip * w.width), result = arena.take(kStrip * w.dim_pitch());
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
        if (w.norm) w.normalizer.statistics(input, m, memory.norm);
        w.expand(input, memory.norm, m, memory.normalized, line + (1 - left) * pitch, pitch);
      }
      if (y <= begin) continue;
      const float* rows[3] = {memory.lines[(y + 1) % 3], memory.lines[(y + 2) % 3], memory.lines[y % 3]};
      w.with_width([&](auto width) { convolve3x3(rows, width, w.kernel, width, w.kernel_bias, n, memory.features); });
      gate(memory.features, n);
      const Map line_out = row_to_write(out, y - 1, x0, w.dim, memory.result);
      multiply(w.out, {memory.features, w.width}, n, line_out.data, line_out.column);
      if (w.residual) add_pixels(read_row(x, y - 1, x0, n, w.dim, memory.input), n, w.dim, line_out);
      write_row(line_out, out, y - 1, x0, n, w.dim);
    }
  }

  void gate(float* features, long n) const {
    for (long p = 0; p < n; p++, features += w.width)
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

  FeedForwardGradients(const FeedForwardWeights& w, Arena&& arena) : FeedForwardGradients(w, arena) {}
  FeedForwardGradients(const FeedForwardWeights& w, Arena& arena) {
    in = arena.take(outer_size(w.width, w.dim_pitch())), in_bias = arena.take(w.width);
    kernel = arena.take(9 * w.width), kernel_bias = arena.take(w.width);
    out = arena.take(outer_size(w.dim, w.width)), out_bias = arena.take(w.dim_pitch());
  }

  void store(const FeedForwardWeights& w, const float* const* p, float* const* g) const {
    MixerGradients::store_normalized(w.both, w.dim, p[kFfInWeight], p[kFfNormWeight], p[kFfNormBias],
                                     [&](int n, int k) { return in[w.place(n) * w.dim_pitch() + k]; },
                                     [&](int n) { return in_bias[w.place(n)]; }, g + kFfNormWeight, g + kFfInWeight);
    MixerGradients::store_scaled(w.dim, w.both, p[kFfOutWeight], p[kFfOutBias], p[kFfAlpha],
                                 [&](int n, int k) { return out[n * w.width + w.place(k)]; },
                                 [&](int n) { return out_bias[n]; }, g + kFfOutWeight, g[kFfAlpha]);
    for (int c = 0; c < w.both; c++) {
      for (int t = 0; t < 9; t++) g[kFfKernel][c * 9 + t] = kernel[t * w.width + w.place(c)];
      g[kFfKernelBias][c] = kernel_bias[w.place(c)];
    }
  }
};

// Maps of one image between the stages of the backward pass, with a border of zeros. The hidden features are computed
// again: keeping them from the forward pass takes as long, and much memory.
struct FeedForwardMaps {
  static constexpr int kBorder = 2;  // rows and columns in addition to those of the image

  Map hidden, grad;  // depthwise convolution: its input, and the gradient of its output
  float* norm;

  FeedForwardMaps(const FeedForwardWeights& w, float* data, const Shape& shape) {
    const long row = (shape.width + kBorder) * w.map_pitch(), size = (shape.height + kBorder) * row;
    hidden = {data, w.map_pitch(), row}, grad = {data + size, w.map_pitch(), row};
    norm = data + 2 * size;
  }

  static int channels(int hidden) { return 2 * (2 * int(round_up(hidden)) + 16) + 2; }
};

// The backward pass needs only the input of the forward pass.
class FeedForwardBackward {
 public:
  FeedForwardBackward(const FeedForwardWeights& weights, const Shape& shape) : w(weights), shape(shape) {}

  struct Memory {
    float *input, *output, *features, *grad, *result;

    Memory(const FeedForwardBackward& layer, Arena&& arena) : Memory(layer, arena) {}
    Memory(const FeedForwardBackward& layer, Arena& arena) {
      const FeedForwardWeights& w = layer.w;
      const long n = layer.shape.width;
      input = arena.take(n * w.dim_pitch()), output = arena.take(n * w.dim_pitch());
      features = arena.take(n * w.width), grad = arena.take(n * w.width), result = arena.take(n * w.dim_pitch());
    }
  };

  void run(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, const FeedForwardMaps& maps,
           FeedForwardGradients& sums, Memory&& memory) const {
    const long begin = team.begin(shape.height), end = team.end(shape.height);
    for (const Map& map : {maps.hidden, maps.grad}) clear_border(map, begin, end);
    for (long y = begin; y < end; y++) {
      const Pixels input = read_row(x, y, 0, shape.width, w.dim, memory.input);
      float* statistics = maps.norm + 2 * y * shape.width;
      if (w.norm) w.normalizer.statistics(input, shape.width, statistics);
      w.expand(input, statistics, shape.width, memory.input, maps.hidden.at(y + 1, 1), maps.hidden.column);
    }
    team.sync();
    for (long y = begin; y < end; y++) gated(grad_out, maps, sums, y, memory);
    team.sync();
    for (long y = begin; y < end; y++) outer(x, grad_out, grad_x, maps, sums, y, memory);
    team.sync();
  }

 private:
  const FeedForwardWeights& w;
  const Shape shape;

  void clear_border(const Map& map, long begin, long end) const {
    if (begin == end) return;
    if (begin == 0) clear(map.data, map.row);
    if (end == shape.height) clear(map.at(end + 1, 0), map.row);
    for (long y = begin + 1; y <= end; y++)
      for (long x : {0L, shape.width + 1}) clear(map.at(y, x), map.column);
  }

  void gated(const Map& grad_out, const FeedForwardMaps& maps, FeedForwardGradients& sums, long y,
             Memory& memory) const {
    const long n = shape.width, pitch = w.map_pitch();
    const Pixels output = read_row(grad_out, y, 0, n, w.dim, memory.output);
    const float* rows[3] = {maps.hidden.at(y, 0), maps.hidden.at(y + 1, 0), maps.hidden.at(y + 2, 0)};
    w.with_width([&](auto width) { convolve3x3(rows, width, w.kernel, width, w.kernel_bias, n, memory.features); });
    multiply(w.out_transposed, output, n, memory.grad, w.width);
    float* grad = maps.grad.at(y + 1, 1);
    for (long p = 0; p < n; p++) {
      float *first = memory.features + p * w.width, *second = first + w.half;
      const float* g = memory.grad + p * w.width;
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
    add_outer_product(w.bf16, output, w.dim, {memory.features, w.width}, w.width, n, sums.out);
    add_sums(output, w.dim_pitch(), n, sums.out_bias);
    w.with_width([&](auto width) { kernel_gradient(rows, grad, width, n, sums); });
  }

  template <class Width>
  void kernel_gradient(const float* const rows[3], const float* grad, Width width, long n,
                       FeedForwardGradients& sums) const {
    const long pitch = w.map_pitch(width);
    for (int c = 0; c < width; c += kLanes) {
      Vec taps[9], bias = load(sums.kernel_bias + c);
      UNROLL for (int t = 0; t < 9; t++) taps[t] = load(sums.kernel + t * width + c);
      for (long p = 0; p < n; p++) {
        const Vec g = load(grad + p * pitch + c);
        bias += g;
        UNROLL for (int r = 0; r < 3; r++)
          UNROLL for (int t = 0; t < 3; t++) taps[3 * r + t] += g * load(rows[r] + (p + t) * pitch + c);
      }
      UNROLL for (int t = 0; t < 9; t++) store(sums.kernel + t * width + c, taps[t]);
      store(sums.kernel_bias + c, bias);
    }
  }

  void outer(const Map& x, const Map& grad_out, const Map& grad_x, const FeedForwardMaps& maps,
             FeedForwardGradients& sums, long y, Memory& memory) const {
    const long n = shape.width;
    const float* rows[3] = {maps.grad.at(y, 0), maps.grad.at(y + 1, 0), maps.grad.at(y + 2, 0)};
    w.with_width([&](auto width) {
      convolve3x3(rows, width, w.kernel + 8 * width, -long(width), nullptr, n, memory.grad);
    });
    const float* statistics = maps.norm + 2 * y * n;
    Pixels input = read_row(x, y, 0, n, w.dim, memory.input);
    if (w.norm) {
      w.normalizer.normalize(input, statistics, n, memory.input, w.dim_pitch());
      input = {memory.input, w.dim_pitch()};
    }
    add_outer_product(w.bf16, {memory.grad, w.width}, w.width, input, w.dim_pitch(), n, sums.in);
    add_sums({memory.grad, w.width}, w.width, n, sums.in_bias);
    const Map line = row_to_write(grad_x, y, 0, w.dim, memory.result);
    multiply(w.in_transposed, {memory.grad, w.width}, n, line.data, line.column);
    if (w.norm) w.normalizer.backward(input, statistics, n, line);
    if (w.residual) add_pixels(read_row(grad_out, y, 0, n, w.dim, memory.output), n, w.dim, line);
    write_row(line, grad_x, y, 0, n, w.dim);
  }
};

}  // namespace lamnet
