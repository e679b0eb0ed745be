// The mixer sub-block: x + α · ULM(norm(x)), forward and backward. Norm and residual are optional.
//
// Norm and α are folded into the projections next to them. An image takes three stages with a barrier after each:
//   1. rows:    norm, first projection, channel branch c, horizontal pass
//   2. columns: vertical pass a, image-wide sums of the exchange
//   3. rows:    exchange, last projection, residual
// The channels of both branches are in the order of the heads' layout.
#pragma once

#include "focal_pass.h"

namespace lamnet {

struct MixerConfig {
  int32_t dim, reduced, heads, taps, radius;  // reduced: channels of the bottleneck of the channel branch
  const int32_t *first, *length;              // cells of the window
  float eps;
  int32_t bf16;                               // whether the products are in bfloat16
};

enum MixerParameter {
  kNormWeight, kNormBias, kInWeight, kInBias, kReduceWeight, kReduceBias, kExpandWeight, kExpandBias,
  kHorizontal, kVertical = kHorizontal + 4, kOutWeight = kVertical + 4, kOutBias, kAlpha, kMixerParameters
};

struct MixerWeights {
  int dim, half, reduced;
  bool norm, residual, bf16;
  Norm normalizer;
  HeadLayout layout;
  PassWeights horizontal, vertical;
  Matrix in_channel, in_spatial, reduce, expand, out;                           // of the forward pass
  Matrix in_transposed, reduce_transposed, expand_transposed, out_transposed;  // of the backward pass

  MixerWeights(const MixerConfig& config, const float* const* p, Arena& arena, bool backward)
      : dim(config.dim), half(dim / 2), reduced(config.reduced), norm(p[kNormWeight]), residual(p[kAlpha]),
        bf16(config.bf16), normalizer(dim, config.eps), layout(half, config.heads) {
    const Window window = {config.radius, config.taps, config.first, config.length};
    horizontal.prepare(window, layout, bf16, p + kHorizontal, arena, backward);
    vertical.prepare(window, layout, bf16, p + kVertical, arena, backward);
    const float *first = p[kInWeight], *last = p[kOutWeight];
    auto gain = [&](int k) { return norm ? p[kNormWeight][k] : 1.0f; };
    auto alpha = [&](int n) { return residual ? p[kAlpha][n] : 1.0f; };
    auto in_bias = [&](int n) {
      return p[kInBias][n] + (norm ? dot(first + n * dim, p[kNormBias], dim) : 0.0f);
    };
    auto reducing = [&](int index, int n) {
      return layout.padded([&](int c) { return p[kReduceWeight][n * half + c]; })(index);
    };
    auto expanding = [&](int k, int index) {
      return layout.padded([&](int c) { return p[kExpandWeight][c * reduced + k]; })(index);
    };
    auto projecting = [&](int index, int n) {  // of both branches
      const int c = channel(index);
      return c < 0 ? 0.0f : last[n * dim + c] * alpha(n);
    };
    if (backward) {
      in_transposed.pack(2 * pitch(), dim, bf16, arena, [&](int index, int n) {
        const int c = channel(index);
        return c < 0 ? 0.0f : first[c * dim + n] * gain(n);
      });
      reduce_transposed.pack(reduced, pitch(), bf16, arena, [&](int k, int index) { return reducing(index, k); });
      expand_transposed.pack(pitch(), reduced, bf16, arena, [&](int index, int n) { return expanding(n, index); });
      out_transposed.pack(dim, 2 * pitch(), bf16, arena, [&](int k, int index) { return projecting(index, k); });
      return;
    }
    for (int branch : {0, 1}) {
      const int begin = branch * half;
      (branch ? in_spatial : in_channel)
          .pack(dim, pitch(), bf16, arena,
                [&](int k, int index) {
                  return layout.padded([&](int c) { return first[(begin + c) * dim + k] * gain(k); })(index);
                },
                layout.padded([&](int c) { return in_bias(begin + c); }));
    }
    reduce.pack(pitch(), reduced, bf16, arena, reducing, [&](int n) { return p[kReduceBias][n]; });
    expand.pack(reduced, pitch(), bf16, arena, expanding, layout.padded([&](int c) { return p[kExpandBias][c]; }));
    out.pack(2 * pitch(), dim, bf16, arena, projecting, [&](int n) { return p[kOutBias][n] * alpha(n); });
  }

  int pitch() const { return layout.pitch; }
  int dim_pitch() const { return int(round_up(dim)); }
  int reduced_pitch() const { return int(round_up(reduced)); }

  // Channel of both branches at an index, or -1; and the index of a channel.
  int channel(int index) const {
    if (index < pitch()) return layout.channel(index);
    const int c = layout.channel(index - pitch());
    return c < 0 ? c : c + half;
  }
  int index(int channel) const {
    return channel < half ? layout.index(channel) : pitch() + layout.index(channel - half);
  }
};

// Maps of one image between the stages; those after `c_mean` are for the backward pass only.
struct MixerMaps {
  float *mean, *channel_gate;  // of the spatial branch
  float *c, *horizontal, *a, *c_mean;
  float *in_channel, *in_spatial, *reduced, *gate, *norm;

  MixerMaps(const MixerWeights& w, float* data, long pixels) {
    auto take = [&](long n) { return (data += n) - n; };
    mean = take(w.pitch()), channel_gate = take(w.pitch());
    for (float** map : {&c, &horizontal, &a}) *map = take(w.pitch() * pixels);
    c_mean = take(pixels);
    in_channel = take(w.pitch() * pixels), in_spatial = take(w.pitch() * pixels);
    reduced = take(w.reduced_pitch() * pixels), gate = take(pixels), norm = take(2 * pixels);
  }

  static int floats_per_pixel(int pitch, int reduced, bool save) {
    return 3 * pitch + 1 + (save ? 2 * pitch + int(round_up(reduced)) + 3 : 0);
  }
  static int floats_per_image(int pitch) { return 2 * pitch; }
};

// Writes the branches of n pixels, scaled by their gates.
static void scale_branches(const MixerWeights& w, const MixerMaps& maps, long p, long n, const float* gate,
                           float* out) {
  const long pitch = w.pitch();
  for (long i = 0; i < n; i++, out += 2 * pitch) {
    const float *c = maps.c + (p + i) * pitch, *a = maps.a + (p + i) * pitch;
    for (long j = 0; j < pitch; j += kLanes) {
      store(out + j, load(c + j) * gate[i]);
      store(out + pitch + j, load(a + j) * load(maps.channel_gate + j));
    }
  }
}

class MixerForward {
 public:
  static constexpr long kSegment = 64, kColumns = 8;  // pixels of a line, and columns, at a time

  MixerForward(const MixerWeights& weights, const Shape& shape, bool save)
      : w(weights), shape(shape), save(save), radius(w.horizontal.window.radius), pitch(w.pitch()) {}

  // Blocks of columns with sums of their own, so that the result does not depend on the number of threads.
  long blocks() const { return (shape.width + kColumns - 1) / kColumns; }
  long sums_per_block() const { return 2 * pitch; }  // of a, and of a · mean(c)

  struct Memory {
    PassLine horizontal, vertical;
    float *row, *columns, *column, *input, *norm, *in, *reduced, *gate, *branches, *result, *sums;

    Memory(const MixerForward& mixer, Arena& arena)
        : horizontal(mixer.w.horizontal, kSegment, false, arena), vertical(mixer.w.vertical, kSegment, false, arena) {
      const MixerWeights& w = mixer.w;
      row = arena.take((mixer.shape.width + 2 * mixer.radius) * w.pitch());
      columns = arena.take(kColumns * (kSegment + 2 * mixer.radius) * w.pitch());
      column = arena.take(kSegment * w.pitch());
      input = arena.take(kSegment * w.dim_pitch()), norm = arena.take(2 * kSegment);
      in = arena.take(kSegment * w.pitch());
      reduced = arena.take(kSegment * w.reduced_pitch()), gate = arena.take(kSegment);
      branches = arena.take(2 * kSegment * w.pitch()), result = arena.take(kSegment * w.dim_pitch());
      sums = arena.take(2 * w.pitch());
    }
  };

  void run(const Team& team, const Map& x, const Map& out, const MixerMaps& maps, double* sums, Memory&& memory) const {
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++) branches(x, maps, y, memory);
    team.sync();
    for (long block = team.begin(blocks()); block < team.end(blocks()); block++)
      vertical(maps, block * kColumns, sums + block * sums_per_block(), memory);
    team.sync();
    if (team.rank == 0) gates(maps, sums);
    team.sync();
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++)
      for (long x0 = 0; x0 < shape.width; x0 += kSegment) exchange(x, out, maps, y, x0, memory);
  }

 private:
  const MixerWeights& w;
  const Shape shape;
  const bool save;
  const long radius, pitch;

  void branches(const Map& x, const MixerMaps& maps, long y, Memory& memory) const {
    float* row = memory.row + radius * pitch;
    clear(memory.row, radius * pitch);
    clear(row + shape.width * pitch, radius * pitch);
    for (long x0 = 0; x0 < shape.width; x0 += kSegment) {
      const long n = std::min(kSegment, shape.width - x0), p = y * shape.width + x0;
      Pixels input = read_row(x, y, x0, n, w.dim, memory.input);
      if (w.norm) {
        float* statistics = save ? maps.norm + 2 * p : memory.norm;
        w.normalizer.statistics(input, n, statistics);
        input = w.normalizer.normalize(input, statistics, n, memory.input);
      }
      multiply(w.in_spatial, input, n, row + x0 * pitch, pitch);
      if (save) copy(row + x0 * pitch, n * pitch, maps.in_spatial + p * pitch);
      float* in = save ? maps.in_channel + p * pitch : memory.in;
      float* reduced = save ? maps.reduced + p * w.reduced_pitch() : memory.reduced;
      multiply(w.in_channel, input, n, in, pitch);
      multiply(w.reduce, {in, pitch}, n, reduced, w.reduced_pitch());
      for (long i = 0; i < n * w.reduced_pitch(); i += kLanes) {
        const Vec value = load(reduced + i);
        store(reduced + i, value < 0.0f ? Vec{} : value);
      }
      float* c = maps.c + p * pitch;
      multiply(w.expand, {reduced, w.reduced_pitch()}, n, c, pitch);
      for (long i = 0; i < n; i++) {
        Vec sum = {};
        for (long j = 0; j < pitch; j += kLanes) sum += load(c + i * pitch + j);
        maps.c_mean[p + i] = sum_lanes(sum) / float(w.half);
      }
    }
    for (long x0 = 0; x0 < shape.width; x0 += kSegment)
      memory.horizontal.forward(row + x0 * pitch, std::min(kSegment, shape.width - x0),
                                maps.horizontal + (y * shape.width + x0) * pitch, pitch);
  }

  void vertical(const MixerMaps& maps, long x0, double* totals, Memory& memory) const {
    const long count = std::min(kColumns, shape.width - x0), length = (kSegment + 2 * radius) * pitch;
    std::fill_n(totals, sums_per_block(), 0.0);
    for (long y0 = 0; y0 < shape.height; y0 += kSegment) {
      const long n = std::min(kSegment, shape.height - y0);
      for (long i = -radius; i < n + radius; i++) {
        const bool exists = y0 + i >= 0 && y0 + i < shape.height;
        for (long j = 0; j < count; j++) {
          float* to = memory.columns + j * length + (i + radius) * pitch;
          if (exists) copy(maps.horizontal + ((y0 + i) * shape.width + x0 + j) * pitch, pitch, to);
          else clear(to, pitch);
        }
      }
      clear(memory.sums, 2 * pitch);
      for (long j = 0; j < count; j++) {
        const long p = y0 * shape.width + x0 + j;
        memory.vertical.forward(memory.columns + j * length + radius * pitch, n, memory.column, pitch);
        for (long i = 0; i < pitch; i += kLanes) {
          Vec sum = {}, agreement = {};
          for (long k = 0; k < n; k++) {
            const Vec value = load(memory.column + k * pitch + i);
            sum += value;
            agreement += value * maps.c_mean[p + k * shape.width];
          }
          add(memory.sums + i, sum), add(memory.sums + pitch + i, agreement);
        }
        for (long k = 0; k < n; k++) copy(memory.column + k * pitch, pitch, maps.a + (p + k * shape.width) * pitch);
      }
      for (long i = 0; i < 2 * pitch; i++) totals[i] += memory.sums[i];
    }
  }

  void gates(const MixerMaps& maps, double* sums) const {
    for (long block = 1; block < blocks(); block++)
      for (long i = 0; i < 2 * pitch; i++) sums[i] += sums[block * sums_per_block() + i];
    const double scale = 1.0 / (double(shape.height) * double(shape.width));
    for (long i = 0; i < pitch; i++)
      maps.mean[i] = float(sums[i] * scale), maps.channel_gate[i] = float(sums[pitch + i] * scale);
    for (long i = 0; i < pitch; i += kLanes) store(maps.channel_gate + i, sigmoid(load(maps.channel_gate + i)));
  }

  void exchange(const Map& x, const Map& out, const MixerMaps& maps, long y, long x0, Memory& memory) const {
    const long n = std::min(kSegment, shape.width - x0), p = y * shape.width + x0;
    for (long i = 0; i < n; i++) {
      Vec sum = {};
      for (long j = 0; j < pitch; j += kLanes) sum += load(maps.mean + j) * load(maps.c + (p + i) * pitch + j);
      memory.gate[i] = sum_lanes(sum) / float(w.half);
    }
    for (long i = n; i < round_up(n); i++) memory.gate[i] = 0;
    for (long i = 0; i < n; i += kLanes) store(memory.gate + i, sigmoid(load(memory.gate + i)));
    if (save) copy(memory.gate, n, maps.gate + p);
    scale_branches(w, maps, p, n, memory.gate, memory.branches);
    const Map line = row_to_write(out, y, x0, w.dim, memory.result);
    multiply(w.out, {memory.branches, 2 * pitch}, n, line.data, line.column);
    if (w.residual) add_pixels(read_row(x, y, x0, n, w.dim, memory.input), n, w.dim, line);
    write_row(line, out, y, x0, n, w.dim);
  }
};

// Sums of the parameter gradients, with the channels in the order of the layout, and of the folded projections.
struct MixerGradients {
  PassGradients horizontal, vertical;
  float *in, *in_bias, *reduce, *reduce_bias, *expand, *expand_bias, *out, *out_bias;

  MixerGradients(const MixerWeights& w, Arena& arena) {
    horizontal.take(w.horizontal, arena), vertical.take(w.vertical, arena);
    in = arena.take(outer_size(2 * w.pitch(), w.dim_pitch())), in_bias = arena.take(2 * w.pitch());
    reduce = arena.take(outer_size(w.reduced, w.pitch())), reduce_bias = arena.take(w.reduced_pitch());
    expand = arena.take(outer_size(w.pitch(), w.reduced_pitch())), expand_bias = arena.take(w.pitch());
    out = arena.take(outer_size(w.dim, 2 * w.pitch())), out_bias = arena.take(w.dim_pitch());
  }

  // Gradients of the parameters themselves.
  void store(const MixerWeights& w, const float* const* p, float* const* g) const {
    horizontal.store(g + kHorizontal, w.horizontal), vertical.store(g + kVertical, w.vertical);
    for (int c = 0; c < w.half; c++) {
      const int index = w.layout.index(c);
      for (int n = 0; n < w.reduced; n++) {
        g[kReduceWeight][n * w.half + c] = reduce[n * w.pitch() + index];
        g[kExpandWeight][c * w.reduced + n] = expand[index * w.reduced_pitch() + n];
      }
      g[kExpandBias][c] = expand_bias[index];
    }
    std::memcpy(g[kReduceBias], reduce_bias, w.reduced * sizeof(float));
    store_normalized(w.dim, w.dim, p[kInWeight], p[kNormWeight], p[kNormBias],
                     [&](int n, int k) { return in[w.index(n) * w.dim_pitch() + k]; },
                     [&](int n) { return in_bias[w.index(n)]; }, g + kNormWeight, g + kInWeight);
    store_scaled(w.dim, w.dim, p[kOutWeight], p[kOutBias], p[kAlpha],
                 [&](int n, int k) { return out[n * 2 * w.pitch() + w.index(k)]; }, [&](int n) { return out_bias[n]; },
                 g + kOutWeight, g[kAlpha]);
  }

  // Splits the gradient of a projection of normalized input: weight · (gain · x̂ + shift) + bias.
  template <class Sum, class BiasSum>
  static void store_normalized(int rows, int cols, const float* weight, const float* gain, const float* shift, Sum sum,
                               BiasSum bias_sum, float* const* norm_out, float* const* out) {
    std::vector<float> gain_grad(cols), shift_grad(cols);
    for (int n = 0; n < rows; n++) {
      const float bias_grad = out[1][n] = bias_sum(n);
      float* grad = out[0] + n * cols;
      for (int k = 0; k < cols; k++) grad[k] = sum(n, k);
      if (!gain) continue;
      for (int k = 0; k < cols; k++) {
        gain_grad[k] += weight[n * cols + k] * grad[k], shift_grad[k] += weight[n * cols + k] * bias_grad;
        grad[k] = grad[k] * gain[k] + bias_grad * shift[k];
      }
    }
    if (!gain) return;
    std::copy(gain_grad.begin(), gain_grad.end(), norm_out[0]);
    std::copy(shift_grad.begin(), shift_grad.end(), norm_out[1]);
  }

  // Splits the gradient of a scaled projection: α · (weight · x + bias).
  template <class Sum, class BiasSum>
  static void store_scaled(int rows, int cols, const float* weight, const float* bias, const float* alpha, Sum sum,
                           BiasSum bias_sum, float* const* out, float* alpha_out) {
    for (int n = 0; n < rows; n++) {
      const float scale = alpha ? alpha[n] : 1.0f;
      float* grad = out[0] + n * cols;
      for (int k = 0; k < cols; k++) grad[k] = sum(n, k);
      if (alpha) alpha_out[n] = dot(weight + n * cols, grad, cols) + bias[n] * bias_sum(n);
      for (int k = 0; k < cols; k++) grad[k] *= scale;
      out[1][n] = scale * bias_sum(n);
    }
  }
};

// Maps of one image between the stages of the backward pass: gradients of c, of the scaled a, and of the horizontal
// pass.
struct MixerGradientMaps {
  float *c, *scaled, *horizontal;

  MixerGradientMaps(const MixerWeights& w, float* data, long pixels)
      : c(data), scaled(c + w.pitch() * pixels), horizontal(scaled + w.pitch() * pixels) {}

  static int floats_per_pixel(int pitch) { return 3 * pitch; }
};

// Three stages, as in the forward pass: rows, columns, rows.
class MixerBackward {
 public:
  MixerBackward(const MixerWeights& weights, const Shape& shape) : w(weights), shape(shape), pitch(w.pitch()) {}

  long sums_per_thread() const { return 2 * pitch; }  // gradients of the mean of a, and of the channel gate

  struct Memory {
    PassLine horizontal, vertical;
    float *input, *output, *branches, *grad, *in_grad, *reduced_grad, *result, *sums;

    Memory(const MixerBackward& mixer, Arena& arena)
        : horizontal(mixer.w.horizontal, mixer.shape.width, true, arena),
          vertical(mixer.w.vertical, mixer.shape.height, true, arena) {
      const MixerWeights& w = mixer.w;
      const long n = mixer.shape.width;
      input = arena.take(n * w.dim_pitch()), output = arena.take(n * w.dim_pitch());
      branches = arena.take(2 * n * w.pitch()), grad = arena.take(2 * n * w.pitch());
      in_grad = arena.take(2 * n * w.pitch()), reduced_grad = arena.take(n * w.reduced_pitch());
      result = arena.take(std::max(n * w.dim_pitch(), mixer.shape.height * w.pitch()));
      sums = arena.take(2 * w.pitch());
    }
  };

  void run(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, const MixerMaps& maps,
           const MixerGradientMaps& grads, MixerGradients& sums, double* totals, Memory&& memory) const {
    double* own = totals + team.rank * sums_per_thread();
    std::fill_n(own, sums_per_thread(), 0.0);
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++)
      exchange(grad_out, maps, grads, sums, y, own, memory);
    team.sync();
    mean_gradients(maps, totals, team.size, memory.sums);
    for (long i = team.begin(shape.width); i < team.end(shape.width); i++) vertical(maps, grads, sums, i, memory);
    team.sync();
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++)
      branches(x, grad_out, grad_x, maps, grads, sums, y, memory);
  }

 private:
  const MixerWeights& w;
  const Shape shape;
  const long pitch;

  void exchange(const Map& grad_out, const MixerMaps& maps, const MixerGradientMaps& grads, MixerGradients& sums,
                long y, double* totals, Memory& memory) const {
    const long n = shape.width, p = y * n;
    const Pixels output = read_row(grad_out, y, 0, n, w.dim, memory.output);
    scale_branches(w, maps, p, n, maps.gate + p, memory.branches);
    add_outer_product(w.bf16, output, w.dim, {memory.branches, 2 * pitch}, int(2 * pitch), n, sums.out);
    add_sums(output, w.dim_pitch(), n, sums.out_bias);
    multiply(w.out_transposed, output, n, memory.grad, 2 * pitch);
    clear(memory.sums, 2 * pitch);
    for (long i = 0; i < n; i++) {
      const float *c = maps.c + (p + i) * pitch, *a = maps.a + (p + i) * pitch, *g = memory.grad + i * 2 * pitch;
      float *c_grad = grads.c + (p + i) * pitch, *scaled = grads.scaled + (p + i) * pitch;
      const float gate = maps.gate[p + i];
      Vec agreement = {};
      for (long j = 0; j < pitch; j += kLanes) agreement += load(c + j) * load(g + j);
      const float gate_grad = sum_lanes(agreement) * gate * (1.0f - gate) / float(w.half);
      for (long j = 0; j < pitch; j += kLanes) {
        store(c_grad + j, load(g + j) * gate + gate_grad * load(maps.mean + j));
        add(memory.sums + j, gate_grad * load(c + j));
        const Vec v = load(g + pitch + j);
        store(scaled + j, v);
        add(memory.sums + pitch + j, v * load(a + j));
      }
    }
    for (long i = 0; i < 2 * pitch; i++) totals[i] += memory.sums[i];
  }

  // Gradients of the mean of a, and of the channel gate before the sigmoid, of each pixel.
  void mean_gradients(const MixerMaps& maps, const double* totals, int threads, float* out) const {
    const double scale = 1.0 / (double(shape.height) * double(shape.width));
    for (long i = 0; i < 2 * pitch; i++) {
      double sum = 0;
      for (int t = 0; t < threads; t++) sum += totals[t * sums_per_thread() + i];
      out[i] = float(sum * scale);
    }
    for (long i = 0; i < pitch; i++) out[pitch + i] *= maps.channel_gate[i] * (1.0f - maps.channel_gate[i]);
  }

  void vertical(const MixerMaps& maps, const MixerGradientMaps& grads, MixerGradients& sums, long x,
                Memory& memory) const {
    const long n = shape.height;
    float *input = memory.vertical.input(n), *g = memory.vertical.output_gradient(n);
    for (long y = 0; y < n; y++) {
      const long p = y * shape.width + x;
      for (long j = 0; j < pitch; j += kLanes) {
        store(input + y * pitch + j, load(maps.horizontal + p * pitch + j));
        const Vec mean_grad = load(memory.sums + j) + load(memory.sums + pitch + j) * maps.c_mean[p];
        store(g + y * pitch + j, load(grads.scaled + p * pitch + j) * load(maps.channel_gate + j) + mean_grad);
      }
    }
    memory.vertical.backward(n, sums.vertical, memory.result, pitch);
    for (long y = 0; y < n; y++)
      copy(memory.result + y * pitch, pitch, grads.horizontal + (y * shape.width + x) * pitch);
  }

  void branches(const Map& x, const Map& grad_out, const Map& grad_x, const MixerMaps& maps,
                const MixerGradientMaps& grads, MixerGradients& sums, long y, Memory& memory) const {
    const long n = shape.width, p = y * n, r = w.reduced_pitch();
    float *c_grad = grads.c + p * pitch, *reduced = maps.reduced + p * r, *in_grad = memory.in_grad;
    for (long i = 0; i < n; i++) {
      const float* a = maps.a + (p + i) * pitch;
      Vec sum = {};
      for (long j = 0; j < pitch; j += kLanes) sum += load(memory.sums + pitch + j) * load(a + j);
      const float mean_grad = sum_lanes(sum) / float(w.half);
      for (long j = 0; j < pitch; j += kLanes) add(c_grad + i * pitch + j, broadcast(mean_grad));
    }
    add_outer_product(w.bf16, {c_grad, pitch}, int(pitch), {reduced, r}, int(r), n, sums.expand);
    add_sums({c_grad, pitch}, int(pitch), n, sums.expand_bias);
    multiply(w.expand_transposed, {c_grad, pitch}, n, memory.reduced_grad, r);
    for (long i = 0; i < n * r; i += kLanes) {
      const Vec g = load(memory.reduced_grad + i);
      store(memory.reduced_grad + i, load(reduced + i) > 0.0f ? g : Vec{});
    }
    const Pixels in = {maps.in_channel + p * pitch, pitch};
    add_outer_product(w.bf16, {memory.reduced_grad, r}, w.reduced, in, int(pitch), n, sums.reduce);
    add_sums({memory.reduced_grad, r}, int(r), n, sums.reduce_bias);
    multiply(w.reduce_transposed, {memory.reduced_grad, r}, n, in_grad, 2 * pitch);

    copy(maps.in_spatial + p * pitch, n * pitch, memory.horizontal.input(n));
    copy(grads.horizontal + p * pitch, n * pitch, memory.horizontal.output_gradient(n));
    memory.horizontal.backward(n, sums.horizontal, in_grad + pitch, 2 * pitch);

    Pixels input = read_row(x, y, 0, n, w.dim, memory.input);
    if (w.norm) input = w.normalizer.normalize(input, maps.norm + 2 * p, n, memory.input);
    add_outer_product(w.bf16, {in_grad, 2 * pitch}, int(2 * pitch), input, w.dim_pitch(), n, sums.in);
    add_sums({in_grad, 2 * pitch}, int(2 * pitch), n, sums.in_bias);
    const Map line = row_to_write(grad_x, y, 0, w.dim, memory.result);
    multiply(w.in_transposed, {in_grad, 2 * pitch}, n, line.data, line.column);
    if (w.norm) w.normalizer.backward(input, maps.norm + 2 * p, n, line);
    if (w.residual) add_pixels(read_row(grad_out, y, 0, n, w.dim, memory.output), n, w.dim, line);
    write_row(line, grad_x, y, 0, n, w.dim);
  }
};

}  // namespace lamnet
