// The mixer sub-block: x + α · ULM(norm(x)), forward and backward. Norm and residual are optional.
//
// Norm and α are folded into the projections next to them. An image takes three stages with a barrier after each:
//   1. rows:    norm, first projection, channel branch c, horizontal pass
//   2. tiles:   vertical pass a, image-wide sums of the exchange
//   3. rows:    exchange, last projection, residual
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
  int dim, half, reduced, heads;
  float eps;
  bool norm, residual, bf16;
  Window window;
  PassWeights horizontal, vertical;
  Matrix in_channel, in_spatial, reduce, expand, out;
  Matrix in_transposed, reduce_transposed, expand_transposed, out_transposed;

  MixerWeights(const MixerConfig& config, const float* const* p, Arena& arena, bool backward) {
    dim = config.dim, half = dim / 2, reduced = config.reduced, heads = config.heads, eps = config.eps;
    bf16 = config.bf16;
    window = {config.radius, config.taps, config.first, config.length};
    norm = p[kNormWeight], residual = p[kAlpha];
    horizontal.prepare(window, half, heads, bf16, p + kHorizontal, arena, backward);
    vertical.prepare(window, half, heads, bf16, p + kVertical, arena, backward);
    float* storage[9];
    const int shapes[][2] = {{half, dim}, {half, dim}, {reduced, half}, {half, reduced}, {dim, dim},
                             {dim, dim},  {half, reduced}, {reduced, half}, {dim, dim}};
    for (int i = 0; i < (backward ? 9 : 5); i++) storage[i] = arena.take(Matrix::size(shapes[i][0], shapes[i][1]));
    if (!storage[0]) return;
    const float *in = p[kInWeight], *last = p[kOutWeight];
    auto gain = [&](int k) { return norm ? p[kNormWeight][k] : 1.0f; };
    auto alpha = [&](int n) { return residual ? p[kAlpha][n] : 1.0f; };
    auto in_bias = [&](int n) {
      float sum = p[kInBias][n];
      for (int k = 0; norm && k < dim; k++) sum += in[n * dim + k] * p[kNormBias][k];
      return sum;
    };
    in_channel.pack(half, dim, bf16, storage[0], [&](int n, int k) { return in[n * dim + k] * gain(k); }, in_bias);
    in_spatial.pack(half, dim, bf16, storage[1], [&](int n, int k) { return in[(half + n) * dim + k] * gain(k); },
                    [&](int n) { return in_bias(half + n); });
    reduce.pack(reduced, half, bf16, storage[2], [&](int n, int k) { return p[kReduceWeight][n * half + k]; },
                [&](int n) { return p[kReduceBias][n]; });
    expand.pack(half, reduced, bf16, storage[3], [&](int n, int k) { return p[kExpandWeight][n * reduced + k]; },
                [&](int n) { return p[kExpandBias][n]; });
    out.pack(dim, dim, bf16, storage[4], [&](int n, int k) { return last[n * dim + k] * alpha(n); },
             [&](int n) { return p[kOutBias][n] * alpha(n); });
    if (!backward) return;
    in_transposed.pack(dim, dim, bf16, storage[5], [&](int n, int k) { return in[k * dim + n] * gain(n); });
    reduce_transposed.pack(half, reduced, bf16, storage[6], [&](int n, int k) { return p[kReduceWeight][k * half + n]; });
    expand_transposed.pack(reduced, half, bf16, storage[7], [&](int n, int k) { return p[kExpandWeight][k * reduced + n]; });
    out_transposed.pack(dim, dim, bf16, storage[8], [&](int n, int k) { return last[k * dim + n] * alpha(k); });
  }
};

// Maps of one image between the stages; those from `gate` on are for the backward pass only.
struct MixerMaps {
  Map c, horizontal, a, c_mean, gate, norm, in, reduced, hidden_h, weights_h, hidden_v, weights_v;
  float *mean, *channel_gate;  // of the spatial branch; in the row after the last

  MixerMaps(const MixerWeights& w, const Map& map, long height) {
    int first = 0;
    auto take = [&](int channels) { return map.from((first += channels) - channels); };
    c = take(w.half), horizontal = take(w.half), a = take(w.half), c_mean = take(1);
    gate = take(1), norm = take(2), in = take(w.dim), reduced = take(w.reduced);
    hidden_h = take(w.half), weights_h = take(w.horizontal.outputs());
    hidden_v = take(w.half), weights_v = take(w.vertical.outputs());
    mean = map.at(height), channel_gate = mean + w.half;
  }

  static int channels(int half, int reduced, int outputs, bool save) {
    return odd(3 * half + 1 + (save ? 3 + 4 * half + reduced + 2 * outputs : 0));
  }
};

// Sums over a part of an image: of a, and of a · mean(c).
struct MixerSums {
  double *a, *agreement;

  MixerSums(double* storage, int half, long part) : a(storage + 2L * half * part), agreement(a + half) {}
};

class MixerForward {
 public:
  static constexpr long kSegment = 160, kStrip = 48, kBand = 8;  // pixels of a row at a time; tiles of the vertical pass

  MixerForward(const MixerWeights& weights, const Shape& shape, bool save)
      : w(weights), shape(shape), save(save), pitch(round_up(shape.width)), radius(w.window.radius) {}

  // Bands of rows with sums of their own, so that the result does not depend on the number of threads.
  long bands() const { return (shape.height + kBand - 1) / kBand; }

  long scratch() const {
    const long n = kSegment + 2 * radius + 2 * kLanes;
    return n * (2 * w.dim + 2 * w.half + w.reduced + w.window.taps * w.heads + 8) + 2 * w.half * kLanes + 1024;
  }

  void run(const Team& team, const Map& x, const Map& out, const MixerMaps& maps, float* buffer, double* sums) const {
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++)
      for (long x0 = 0; x0 < shape.width; x0 += kSegment) branches(x, maps, y, x0, Arena(buffer));
    team.sync();
    const long first = team.begin(bands()), last = team.end(bands());
    std::fill(sums + first * w.dim, sums + last * w.dim, 0.0);
    for (long x0 = 0; x0 < shape.width; x0 += kStrip)
      for (long band = first; band < last; band++) {
        MixerSums own(sums, w.half, band);
        vertical(maps, x0, band * kBand, std::min<long>((band + 1) * kBand, shape.height), Arena(buffer), own);
      }
    team.sync();
    if (team.rank == 0) gates(maps, sums);
    team.sync();
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++)
      for (long x0 = 0; x0 < shape.width; x0 += kSegment) exchange(x, out, maps, y, x0, Arena(buffer));
  }

 private:
  const MixerWeights& w;
  const Shape shape;
  const bool save;
  const long pitch, radius;

  void branches(const Map& x, const MixerMaps& maps, long y, long x0, Arena arena) const {
    const long n = std::min(kSegment, shape.width - x0), np = round_up(n);
    const long left = std::max(0L, x0 - radius), right = std::min(shape.width, x0 + n + radius);
    const long m = right - left, mp = round_up(m), offset = left - (x0 - radius);
    float* input = arena.take(w.dim * mp + kLanes);
    copy_row(x, w.dim, y, left, right, input, mp, mp);
    std::memset(input + w.dim * mp, 0, kLanes * sizeof(float));
    float *mean = arena.take(mp + kLanes), *scale = arena.take(mp + kLanes);
    if (w.norm) normalize(input, mp, w.dim, mp, w.eps, mean, scale);
    store(mean + mp, Vec{}), store(scale + mp, Vec{});

    const long padded_pitch = round_up(n + 2 * radius) + kLanes;
    float* padded = arena.take(w.half * padded_pitch + kLanes);
    clear_columns(padded, padded_pitch, w.half, 0, offset);
    multiply(w.in_spatial, input, mp, mp, padded + offset, padded_pitch);
    clear_columns(padded, padded_pitch, w.half, offset + m, padded_pitch);

    const float* center = input + (x0 - left);
    float *in = arena.take(w.half * np), *reduced = arena.take(w.reduced * np);
    float *hidden = arena.take(w.half * np), *weights = arena.take(w.horizontal.outputs() * np);
    long in_pitch = np;
    if (save) {
      in = maps.in.at(y) + x0, reduced = maps.reduced.at(y) + x0, in_pitch = pitch;
      hidden = maps.hidden_h.at(y) + x0, weights = maps.weights_h.at(y) + x0;
      for (int c = 0; c < w.half; c++) {
        float* line = in + (w.half + c) * pitch;
        for (long p = 0; p < np; p += kLanes) store(line + p, load(padded + c * padded_pitch + radius + p));
      }
      if (w.norm) {
        float* line = maps.norm.at(y) + x0;
        for (long p = 0; p < np; p += kLanes) {
          store(line + p, load(mean + x0 - left + p));
          store(line + pitch + p, load(scale + x0 - left + p));
        }
      }
    }
    multiply(w.in_channel, center, mp, np, in, in_pitch);
    multiply(w.reduce, in, in_pitch, np, reduced, in_pitch);
    for (int c = 0; c < w.reduced; c++)
      for (long p = 0; p < np; p += kLanes) {
        const Vec v = load(reduced + c * in_pitch + p);
        store(reduced + c * in_pitch + p, v < 0.0f ? Vec{} : v);
      }
    float *c = maps.c.at(y) + x0, *c_mean = maps.c_mean.at(y) + x0;
    multiply(w.expand, reduced, in_pitch, np, c, pitch);
    for (long p = 0; p < np; p += kLanes) {
      store(c_mean + p, sum_of(w.half, [&](int i) { return load(c + i * pitch + p); }) / float(w.half));
    }
    float* result = maps.horizontal.at(y) + x0;
    w.horizontal.forward(row_line(padded, padded_pitch, w.window), np, hidden, in_pitch, weights, in_pitch, result,
                         pitch);
    clear_columns(result, pitch, w.half, n, np);
  }

  void vertical(const MixerMaps& maps, long x0, long begin, long end, Arena arena, MixerSums& sums) const {
    const long np = round_up(std::min(kStrip, shape.width - x0));
    float *hidden = arena.take(w.half * np), *weights = arena.take(w.vertical.outputs() * np);
    float *lanes = arena.take(w.half * kLanes), *agreement_lanes = arena.take(w.half * kLanes);
    std::memset(lanes, 0, w.half * kLanes * sizeof(float));
    std::memset(agreement_lanes, 0, w.half * kLanes * sizeof(float));
    for (long y = begin; y < end; y++) {
      if (save) hidden = maps.hidden_v.at(y) + x0, weights = maps.weights_v.at(y) + x0;
      const long inner = save ? pitch : np;
      const Line column = column_line(maps.horizontal, y, x0, shape.height, w.window);
      float* a = maps.a.at(y) + x0;
      w.vertical.forward(column, np, hidden, inner, weights, inner, a, pitch);
      const float* c_mean = maps.c_mean.at(y) + x0;
      for (int i = 0; i < w.half; i++) {
        Vec sum = load(lanes + i * kLanes), agreement = load(agreement_lanes + i * kLanes);
        for (long p = 0; p < np; p += kLanes) {
          const Vec v = load(a + i * pitch + p);
          sum += v;
          agreement += v * load(c_mean + p);
        }
        store(lanes + i * kLanes, sum);
        store(agreement_lanes + i * kLanes, agreement);
      }
    }
    for (int i = 0; i < w.half; i++) {
      sums.a[i] += sum_lanes(load(lanes + i * kLanes));
      sums.agreement[i] += sum_lanes(load(agreement_lanes + i * kLanes));
    }
  }

  void gates(const MixerMaps& maps, double* sums) const {
    const double pixels = double(shape.height) * shape.width;
    for (int i = 0; i < w.half; i++) {
      double a = 0, agreement = 0;
      for (long band = 0; band < bands(); band++) {
        const MixerSums part(sums, w.half, band);
        a += part.a[i], agreement += part.agreement[i];
      }
      maps.mean[i] = float(a / pixels);
      maps.channel_gate[i] = float(1.0 / (1.0 + std::exp(-agreement / pixels)));
    }
  }

  void exchange(const Map& x, const Map& out, const MixerMaps& maps, long y, long x0, Arena arena) const {
    const long n = std::min(kSegment, shape.width - x0), np = round_up(n);
    float *gated = arena.take(w.dim * np), *result = arena.take(w.dim * np);
    const float *c = maps.c.at(y) + x0, *a = maps.a.at(y) + x0;
    for (long p = 0; p < np; p += kLanes) {
      const Vec similarity = sum_of(w.half, [&](int i) { return maps.mean[i] * load(c + i * pitch + p); });
      const Vec gate = sigmoid(similarity / float(w.half));
      if (save) store(maps.gate.at(y) + x0 + p, gate);
      for (int i = 0; i < w.half; i++) {
        store(gated + i * np + p, gate * load(c + i * pitch + p));
        store(gated + (w.half + i) * np + p, maps.channel_gate[i] * load(a + i * pitch + p));
      }
    }
    multiply(w.out, gated, np, np, result, np);
    write_row(result, np, w.dim, n, w.residual ? x : Map{}, out, y, x0);
  }
};

// Sums of the parameter gradients of one thread, before norm and α are taken out of the projections.
struct MixerGradients {
  PassGradients horizontal, vertical;
  float *in, *in_bias, *reduce, *reduce_bias, *expand, *expand_bias, *out, *out_bias;

  MixerGradients(const MixerWeights& w, Arena&& arena) : MixerGradients(w, arena) {}
  MixerGradients(const MixerWeights& w, Arena& arena) {
    horizontal.take(w.horizontal, arena), vertical.take(w.vertical, arena);
    in = arena.take(w.dim * w.dim), in_bias = arena.take(w.dim);
    reduce = arena.take(w.reduced * w.half), reduce_bias = arena.take(w.reduced);
    expand = arena.take(w.half * w.reduced), expand_bias = arena.take(w.half);
    out = arena.take(w.dim * w.dim), out_bias = arena.take(w.dim);
  }

  // Gradients of the parameters themselves.
  void store(const MixerWeights& w, const float* const* p, float* const* g) const {
    horizontal.store(g + kHorizontal, w.horizontal), vertical.store(g + kVertical, w.vertical);
    std::memcpy(g[kReduceWeight], reduce, w.reduced * w.half * sizeof(float));
    std::memcpy(g[kReduceBias], reduce_bias, w.reduced * sizeof(float));
    std::memcpy(g[kExpandWeight], expand, w.half * w.reduced * sizeof(float));
    std::memcpy(g[kExpandBias], expand_bias, w.half * sizeof(float));
    store_normalized(w.dim, w.dim, p[kInWeight], p[kNormWeight], p[kNormBias], in, in_bias, g + kNormWeight,
                     g + kInWeight);
    store_scaled(w.dim, w.dim, p[kOutWeight], p[kOutBias], p[kAlpha], out, out_bias, g + kOutWeight, g[kAlpha]);
  }

  // Splits the gradient of a projection of normalized input: weight · (gain · x̂ + shift) + bias.
  static void store_normalized(int rows, int cols, const float* weight, const float* gain, const float* shift,
                               const float* sums, const float* bias_sums, float* const* norm_out, float* const* out) {
    std::memcpy(out[1], bias_sums, rows * sizeof(float));
    if (!gain) {
      std::memcpy(out[0], sums, rows * cols * sizeof(float));
      return;
    }
    std::memset(norm_out[0], 0, cols * sizeof(float));
    std::memset(norm_out[1], 0, cols * sizeof(float));
    for (int n = 0; n < rows; n++)
      for (int k = 0; k < cols; k++) {
        const int i = n * cols + k;
        norm_out[0][k] += weight[i] * sums[i];
        norm_out[1][k] += weight[i] * bias_sums[n];
        out[0][i] = sums[i] * gain[k] + bias_sums[n] * shift[k];
      }
  }

  // Splits the gradient of a scaled projection: α · (weight · x + bias).
  static void store_scaled(int rows, int cols, const float* weight, const float* bias, const float* alpha,
                           const float* sums, const float* bias_sums, float* const* out, float* alpha_out) {
    for (int n = 0; n < rows; n++) {
      float sum = bias[n] * bias_sums[n];
      const float scale = alpha ? alpha[n] : 1.0f;
      for (int k = 0; k < cols; k++) {
        sum += weight[n * cols + k] * sums[n * cols + k];
        out[0][n * cols + k] = scale * sums[n * cols + k];
      }
      out[1][n] = scale * bias_sums[n];
      if (alpha) alpha_out[n] = sum;
    }
  }
};

// Maps of one image between the stages of the backward pass.
struct MixerGradientMaps {
  Map branches;  // gradients of the gated branches; then of the channel branch's input and of a
  Map hidden_v, gate;

  MixerGradientMaps(const MixerWeights& w, const Map& map)
      : branches(map), hidden_v(map.from(w.dim)), gate(map.from(w.dim + w.half)) {}

  static int channels(int dim) { return odd(dim + dim / 2 + 1); }
};

class MixerBackward {
 public:
  MixerBackward(const MixerWeights& weights, const Shape& shape)
      : w(weights), shape(shape), n(round_up(shape.width)), radius(w.window.radius),
        padded(round_up(shape.width + 2 * radius) + kLanes),
        rows(std::min<long>(shape.height, std::max<long>(1, 512 / n))) {}

  long scratch() const {
    return block_pitch(rows, padded) * (3 * w.dim + 2 * w.half + w.reduced + w.horizontal.outputs()) +
           (w.half + w.horizontal.outputs() + 4) * padded + (rows + 2 * radius) * n + 4096;
  }

  void run(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, const MixerMaps& maps,
           const MixerGradientMaps& grads, MixerGradients& sums, float* buffer, double* totals) const {
    MixerSums own(totals, w.half, team.rank);  // here: gradients of mean(a), and of the channel gate
    std::fill(own.a, own.a + 2 * w.half, 0.0);
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      gated(grad_out, maps, grads, sums, y, end, Arena(buffer), own);
    });
    team.sync();
    Arena arena(buffer);
    float *mean_grad = arena.take(w.half), *agreement_grad = arena.take(w.half);
    const float pixels = float(shape.height) * shape.width;
    for (int i = 0; i < w.half; i++) {
      double a = 0, gate = 0;
      for (int t = 0; t < team.size; t++) {
        const MixerSums part(totals, w.half, t);
        a += part.a[i], gate += part.agreement[i];
      }
      const float g = maps.channel_gate[i];
      mean_grad[i] = float(a) / pixels;
      agreement_grad[i] = float(gate) * g * (1 - g) / pixels;
    }
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      inner(maps, grads, sums, mean_grad, agreement_grad, y, end, arena);
    });
    team.sync();
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      outer(x, grad_out, grad_x, maps, grads, sums, y, end, Arena(buffer));
    });
    team.sync();
  }

 private:
  const MixerWeights& w;
  const Shape shape;
  const long n, radius, padded, rows;

  // Last projection and exchange.
  void gated(const Map& grad_out, const MixerMaps& maps, const MixerGradientMaps& grads, MixerGradients& sums,
             long begin, long end, Arena arena, MixerSums& totals) const {
    const long block = block_pitch(rows, n);
    float *result = arena.take(w.dim * block), *product = arena.take(w.dim * block);
    float *mean_lanes = arena.take(w.half * kLanes), *gate_lanes = arena.take(w.half * kLanes);
    std::memset(mean_lanes, 0, w.half * kLanes * sizeof(float));
    std::memset(gate_lanes, 0, w.half * kLanes * sizeof(float));
    copy_rows(grad_out, w.dim, begin, end, shape.width, result, block, n);
    for (long y = begin; y < end; y++) {
      float *q = product + (y - begin) * n, *d = grads.branches.at(y);
      multiply(w.out_transposed, result + (y - begin) * n, block, n, d, n);
      const float *c = maps.c.at(y), *a = maps.a.at(y);
      float* gate_grad = grads.gate.at(y);
      for (long p = 0; p < n; p += kLanes) {
        const Vec gate = load(maps.gate.at(y) + p);
        const Vec sum = sum_of(w.half, [&](int i) { return load(d + i * n + p) * load(c + i * n + p); });
        for (int i = 0; i < w.half; i++) {
          store(q + i * block + p, gate * load(c + i * n + p));
          store(q + (w.half + i) * block + p, maps.channel_gate[i] * load(a + i * n + p));
        }
        store(gate_grad + p, sum * gate * (1.0f - gate) / float(w.half));
      }
      for (int i = 0; i < w.half; i++) {
        Vec mean = load(mean_lanes + i * kLanes), gate = load(gate_lanes + i * kLanes);
        for (long p = 0; p < n; p += kLanes) {
          mean += load(gate_grad + p) * load(c + i * n + p);
          gate += load(d + (w.half + i) * n + p) * load(a + i * n + p);
        }
        store(mean_lanes + i * kLanes, mean);
        store(gate_lanes + i * kLanes, gate);
      }
    }
    for (int i = 0; i < w.half; i++) {
      totals.a[i] += sum_lanes(load(mean_lanes + i * kLanes));
      totals.agreement[i] += sum_lanes(load(gate_lanes + i * kLanes));
    }
    add_outer_product(w.bf16, {result, block, n}, w.dim, {product, block, n}, w.dim, end - begin, n, sums.out);
    add_sums({result, block, n}, w.dim, end - begin, n, sums.out_bias);
  }

  // Channel branch, and the weights of the vertical pass.
  void inner(const MixerMaps& maps, const MixerGradientMaps& grads, MixerGradients& sums, const float* mean_grad,
             const float* agreement_grad, long begin, long end, Arena arena) const {
    const long block = block_pitch(rows, n);
    float *c_grads = arena.take(w.half * block), *reduced_grads = arena.take(w.reduced * block);
    float* weight_grads = arena.take(w.vertical.outputs() * block);
    for (long y = begin; y < end; y++) {
      float *d = grads.branches.at(y), *dc = c_grads + (y - begin) * n, *dr = reduced_grads + (y - begin) * n;
      const float *a = maps.a.at(y), *c_mean = maps.c_mean.at(y), *gate = maps.gate.at(y), *r = maps.reduced.at(y);
      const float* gate_grad = grads.gate.at(y);
      for (long p = 0; p < n; p += kLanes) {
        const Vec sum =
            sum_of(w.half, [&](int i) { return agreement_grad[i] * load(a + i * n + p); }) / float(w.half);
        for (int i = 0; i < w.half; i++) {
          float* da = d + (w.half + i) * n + p;
          store(da, maps.channel_gate[i] * load(da) + agreement_grad[i] * load(c_mean + p) + mean_grad[i]);
        }
        for (int i = 0; i < w.half; i++)
          store(dc + i * block + p, load(d + i * n + p) * load(gate + p) + load(gate_grad + p) * maps.mean[i] + sum);
      }
      clear_columns(d + w.half * n, n, w.half, shape.width, n);
      multiply(w.expand_transposed, dc, block, n, dr, block);
      for (int i = 0; i < w.reduced; i++)
        for (long p = 0; p < n; p += kLanes) {
          const Vec v = load(dr + i * block + p);
          store(dr + i * block + p, load(r + i * n + p) > 0.0f ? v : Vec{});
        }
      multiply(w.reduce_transposed, dr, block, n, d, n);
      w.vertical.backward_weights(column_line(maps.horizontal, y, 0, shape.height, w.window), d + w.half * n, n,
                                  maps.weights_v.at(y), n, n, weight_grads + (y - begin) * n, block,
                                  grads.hidden_v.at(y), n);
    }
    const long count = end - begin;
    add_outer_product(w.bf16, {c_grads, block, n}, w.half, {maps.reduced.at(begin), n, maps.reduced.row}, w.reduced,
                      count, n, sums.expand);
    add_sums({c_grads, block, n}, w.half, count, n, sums.expand_bias);
    add_outer_product(w.bf16, {reduced_grads, block, n}, w.reduced, {maps.in.at(begin), n, maps.in.row}, w.half,
                      count, n, sums.reduce);
    add_sums({reduced_grads, block, n}, w.reduced, count, n, sums.reduce_bias);
    sums.vertical.add(w.vertical, {weight_grads, block, n}, {grads.hidden_v.at(begin), n, grads.hidden_v.row},
                      {maps.hidden_v.at(begin), n, maps.hidden_v.row}, count, n);
  }

  // Input of the vertical pass, horizontal pass, first projection and norm.
  void outer(const Map& x, const Map& grad_out, const Map& grad_x, const MixerMaps& maps,
             const MixerGradientMaps& grads, MixerGradients& sums, long begin, long end, Arena arena) const {
    const int outputs = w.horizontal.outputs();
    const long count = end - begin, block = block_pitch(rows, n), padded_block = block_pitch(rows, padded);
    float* column = arena.take((rows + 2 * radius) * n);
    add_column_kernel_gradient(w.vertical, grads.hidden_v, maps.horizontal, shape.height, begin, end, n, column,
                               sums.vertical.kernel);
    float *in_grads = arena.take(w.dim * block), *inputs = arena.take(w.dim * block), *grad = arena.take(w.dim * block);
    float *padded_in = arena.take(w.half * padded_block + kLanes), *hidden = arena.take(w.half * padded_block + kLanes);
    float* weight_grads = arena.take(outputs * block);
    float *result = arena.take(w.half * padded + kLanes), *weights = arena.take(outputs * padded + kLanes);
    const Map branch = grads.branches.from(w.half);
    const Map spatial_in = maps.in.from(w.half);
    clear_columns(result, padded, w.half, 0, radius);
    copy_rows(x, w.dim, begin, end, shape.width, inputs, block, n);
    for (long y = begin; y < end; y++) {
      float *in = padded_in + (y - begin) * padded, *dh = hidden + (y - begin) * padded;
      float *din = in_grads + (y - begin) * n, *normalized = inputs + (y - begin) * n, *grad_in = grad + (y - begin) * n;
      w.vertical.backward_input(column_line(branch, y, 0, shape.height, w.window),
                                column_line(maps.weights_v, y, 0, shape.height, w.window),
                                column_line(grads.hidden_v, y, 0, shape.height, w.window), n, result + radius, padded);
      clear_columns(result, padded, w.half, radius + shape.width, padded);
      copy_row(spatial_in, w.half, y, 0, shape.width, in, padded_block, padded, radius);
      clear_columns(dh, padded_block, w.half, 0, radius);
      clear_columns(dh, padded_block, w.half, radius + n, padded);
      copy_row(maps.weights_h, outputs, y, 0, shape.width, weights, padded, padded, radius);
      w.horizontal.backward_weights(row_line(in, padded_block, w.window), result + radius, padded, maps.weights_h.at(y),
                                    n, n, weight_grads + (y - begin) * n, block, dh + radius, padded_block);
      w.horizontal.backward_input(row_line(result, padded, w.window), row_line(weights, padded, w.window),
                                  row_line(dh, padded_block, w.window), n, din + w.half * block, block);
      clear_columns(din + w.half * block, block, w.half, shape.width, n);
      for (int c = 0; c < w.half; c++) copy_line(grads.branches.at(y) + c * n, n, din + c * block);

      const float *mean = maps.norm.at(y), *scale = mean + n;
      if (w.norm)
        for (int c = 0; c < w.dim; c++)
          for (long p = 0; p < n; p += kLanes)
            store(normalized + c * block + p, (load(normalized + c * block + p) - load(mean + p)) * load(scale + p));
      multiply(w.in_transposed, din, block, n, grad_in, block);
      if (w.norm) normalize_backward(normalized, grad_in, block, w.dim, n, scale);
    }
    write_rows(grad, block, n, w.dim, shape.width, w.residual ? grad_out : Map{}, grad_x, begin, end);
    sums.horizontal.add(w.horizontal, {weight_grads, block, n}, {hidden + radius, padded_block, padded},
                        {maps.hidden_h.at(begin), n, maps.hidden_h.row}, count, n);
    for (int c = 0; c < w.half; c++)
      add_kernel_gradient(hidden + radius + c * padded_block, padded, padded_in + c * padded_block, padded, 1, count, n,
                          w.window.size(), sums.horizontal.kernel + c * w.window.size());
    add_outer_product(w.bf16, {in_grads, block, n}, w.dim, {inputs, block, n}, w.dim, count, n, sums.in);
    add_sums({in_grads, block, n}, w.dim, count, n, sums.in_bias);
  }
};

}  // namespace lamnet
