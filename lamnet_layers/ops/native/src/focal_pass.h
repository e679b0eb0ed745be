// One pass of focal separable attention along one axis, line by line, forward and backward.
//
//   hidden = depthwise(x)   weights = tanh(project(hidden))   out[p] = Σ_k weights[k, p] · mean of cell k of x around p
//
// A line is a row or column of pixels, with as many zeros as the radius of the window before its first pixel and after
// its last.
#pragma once

#include "image.h"

namespace lamnet {

struct Window {
  int radius, taps;
  const int *first, *length;  // of the cell of each tap; `first` relative to the center

  int size() const { return 2 * radius + 1; }
};

// Order of the channels of a pixel in memory: each head is padded to whole vectors, or to a half or quarter of one.
struct HeadLayout {
  int channels, heads;
  int heads_per_vector, padded_head_dim;
  int pitch;  // a multiple of the vector size

  HeadLayout() = default;
  HeadLayout(int channels_, int heads_) : channels(channels_), heads(heads_), heads_per_vector(1) {
    const int head_dim = channels / heads;
    padded_head_dim = int(round_up(head_dim));
    for (; padded_head_dim / 2 >= std::max(head_dim, 4); padded_head_dim /= 2) heads_per_vector *= 2;
    pitch = int(round_up(heads * padded_head_dim));
    channel_.assign(pitch, -1);
    for (int c = 0; c < channels; c++) {
      index_.push_back(c / head_dim * padded_head_dim + c % head_dim);
      channel_[index_[c]] = c;
    }
  }

  // Of the weights of a pixel, which are computed for four heads at a time.
  int padded_heads() const { return int(round_up(heads, 4)); }
  bool is_padded() const { return pitch != channels; }
  int index(int channel) const { return index_[channel]; }
  int channel(int index) const { return channel_[index]; }  // or -1 for padding

  // Function of an index, from a function of a channel.
  template <class Value>
  auto padded(Value value) const {
    return [this, value](int index) { return channel(index) < 0 ? 0.0f : value(channel(index)); };
  }

 private:
  std::vector<int> index_, channel_;
};

// Sizes of a pass, known when compiled or not; heads: padded.
template <int HEADS_PER_VECTOR, int PITCH, int HEADS, int TAPS>
struct FixedSizes {
  static constexpr int heads_per_vector = HEADS_PER_VECTOR, heads = HEADS, taps = TAPS;
  static constexpr int head_pitch = PITCH / HEADS * HEADS_PER_VECTOR;
  static constexpr std::integral_constant<int, PITCH> pitch = {};
};

template <int HEADS_PER_VECTOR>
struct Sizes {
  static constexpr int heads_per_vector = HEADS_PER_VECTOR;
  const int pitch, heads, taps;
  const int head_pitch;  // channels of a head in whole vectors, or of the heads of a vector

  Sizes(const HeadLayout& layout, int taps)
      : pitch(layout.pitch), heads(layout.padded_heads()), taps(taps),
        head_pitch(layout.padded_head_dim * HEADS_PER_VECTOR) {}
};

// Calls work with the sizes, as constants for the published networks.
template <class Work>
INLINE void with_sizes(const HeadLayout& layout, int taps, Work work) {
  constexpr int kPublished = std::max(kLanes / 8, 1);
  if (layout.heads == 4 && layout.padded_head_dim == 8 && taps == 13) return work(FixedSizes<kPublished, 32, 4, 13>());
#if LAMNET_LANES == 16
  if (layout.heads_per_vector == 4) return work(Sizes<4>(layout, taps));
#endif
#if LAMNET_LANES >= 8
  if (layout.heads_per_vector == 2) return work(Sizes<2>(layout, taps));
#endif
  work(Sizes<1>(layout, taps));
}

// Adds TAPS taps of a depthwise kernel for PIXELS pixels: each pixel of the input is loaded once.
template <int PIXELS, int TAPS, class Pitch>
INLINE void add_taps(const float* x, const float* kernel, long step, Pitch pitch, Vec* sum) {
  Vec w[TAPS];
  UNROLL for (int t = 0; t < TAPS; t++) w[t] = load(kernel + t * step);
  UNROLL for (int i = 0; i < PIXELS + TAPS - 1; i++) {
    const Vec value = load(x + i * pitch);
    UNROLL for (int t = 0; t < TAPS; t++)
      if (i >= t && i - t < PIXELS) sum[i - t] += w[t] * value;
  }
}

template <int PIXELS, class Pitch>
INLINE void convolve_block(const float* x, const float* kernel, long step, int size, const float* bias, Pitch pitch,
                           float* out, long out_pitch) {
  Vec sum[PIXELS];
  UNROLL for (int i = 0; i < PIXELS; i++) sum[i] = bias ? load(bias) : load(out + i * out_pitch);
  int t = 0;
  for (; t + 4 <= size; t += 4) add_taps<PIXELS, 4>(x + t * pitch, kernel + t * step, step, pitch, sum);
  for (; t < size; t++) add_taps<PIXELS, 1>(x + t * pitch, kernel + t * step, step, pitch, sum);
  UNROLL for (int i = 0; i < PIXELS; i++) store(out + i * out_pitch, sum[i]);
}

// out[p] = bias + Σ_t kernel[t] · x[p + t] for n pixels, taps `step` apart; without bias, the sum is added to out.
template <class Pitch>
static void convolve(const float* x, Pitch pitch, const float* kernel, long step, int size, const float* bias, long n,
                     float* out, long out_pitch) {
  for (long c = 0; c < pitch; c += kLanes, x += kLanes, kernel += kLanes, out += kLanes) {
    const float* channel_bias = bias ? bias + c : nullptr;
    long p = 0;
    for (; p + 8 <= n; p += 8)
      convolve_block<8>(x + p * pitch, kernel, step, size, channel_bias, pitch, out + p * out_pitch, out_pitch);
    for (; p < n; p++)
      convolve_block<1>(x + p * pitch, kernel, step, size, channel_bias, pitch, out + p * out_pitch, out_pitch);
  }
}

template <int TAPS, class Pitch>
INLINE void kernel_gradient_taps(const float* grad, const float* x, Pitch pitch, long n, float* out) {
  Vec sum[TAPS] = {};
  for (long p = 0; p < n; p++) {
    const Vec g = load(grad + p * pitch);
    UNROLL for (int t = 0; t < TAPS; t++) sum[t] += g * load(x + (p + t) * pitch);
  }
  UNROLL for (int t = 0; t < TAPS; t++) add(out + t * pitch, sum[t]);
}

// out[t] += Σ_p grad[p] · x[p + t].
template <class Pitch>
static void add_kernel_gradient(const float* grad, const float* x, Pitch pitch, int size, long n, float* out) {
  for (long c = 0; c < pitch; c += kLanes, grad += kLanes, x += kLanes, out += kLanes) {
    int t = 0;
    for (; t + 12 <= size; t += 12) kernel_gradient_taps<12>(grad, x + t * pitch, pitch, n, out + t * pitch);
    for (; t + 4 <= size; t += 4) kernel_gradient_taps<4>(grad, x + t * pitch, pitch, n, out + t * pitch);
    for (; t < size; t++) kernel_gradient_taps<1>(grad, x + t * pitch, pitch, n, out + t * pitch);
  }
}

// Parameters of a pass, with the channels in the order of the layout.
struct PassWeights {
  Window window;
  HeadLayout layout;
  bool bf16;
  std::vector<int> lengths;  // of cells, in ascending order; the first is 1
  std::vector<int> groups;   // index of each tap's length
  std::vector<int> rows;     // of the projection's matrix, for each weight of a pixel, or -1 for padding
  float *kernel, *kernel_bias;
  Matrix project, project_transposed;

  // Number of the weights of a pixel: those of all heads, padded, for each tap.
  int outputs() const { return window.taps * layout.padded_heads(); }
  int weights_pitch() const { return int(round_up(outputs())); }
  int pitch() const { return layout.pitch; }
  long kernel_size() const { return long(window.size()) * pitch(); }

  void prepare(const Window& window_, const HeadLayout& layout_, bool bf16_, const float* const* parameters,
               Arena& arena, bool backward) {
    window = window_, layout = layout_, bf16 = bf16_;
    lengths = {1};
    lengths.insert(lengths.end(), window.length, window.length + window.taps);
    std::sort(lengths.begin(), lengths.end());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
    groups.clear();
    for (int k = 0; k < window.taps; k++)
      groups.push_back(int(std::lower_bound(lengths.begin(), lengths.end(), window.length[k]) - lengths.begin()));
    kernel = arena.take(kernel_size());
    kernel_bias = arena.take(pitch());
    const float *taps = parameters[0], *taps_bias = parameters[1], *matrix = parameters[2], *bias = parameters[3];
    const int channels = layout.channels, size = window.size();
    if (kernel)
      for (int index = 0; index < pitch(); index++) {
        kernel_bias[index] = layout.padded([&](int c) { return taps_bias[c]; })(index);
        for (int t = 0; t < size; t++)
          kernel[t * pitch() + index] = layout.padded([&](int c) { return taps[c * size + t]; })(index);
      }
    rows.assign(outputs(), -1);
    for (int head = 0; head < layout.heads; head++)
      for (int k = 0; k < window.taps; k++) rows[k * layout.padded_heads() + head] = head * window.taps + k;
    auto element = [&](int index, int n) {
      const int c = layout.channel(index);
      return c < 0 || rows[n] < 0 ? 0.0f : matrix[rows[n] * channels + c];
    };
    project.pack(pitch(), outputs(), bf16, arena, element, [&](int n) { return rows[n] < 0 ? 0.0f : bias[rows[n]]; });
    if (backward)
      project_transposed.pack(outputs(), pitch(), bf16, arena, [&](int n, int index) { return element(index, n); });
  }
};

// Sums of the parameter gradients of a pass.
struct PassGradients {
  float *kernel, *kernel_bias, *project, *project_bias;

  void take(const PassWeights& w, Arena& arena) {
    kernel = arena.take(w.kernel_size()), kernel_bias = arena.take(w.pitch());
    project = arena.take(outer_size(w.outputs(), w.pitch())), project_bias = arena.take(w.weights_pitch());
  }

  void store(float* const* gradients, const PassWeights& w) const {
    const int channels = w.layout.channels, size = w.window.size();
    for (int c = 0; c < channels; c++) {
      const int index = w.layout.index(c);
      for (int t = 0; t < size; t++) gradients[0][c * size + t] = kernel[t * w.pitch() + index];
      gradients[1][c] = kernel_bias[index];
      for (int n = 0; n < w.outputs(); n++)
        if (w.rows[n] >= 0) gradients[2][w.rows[n] * channels + c] = project[n * w.pitch() + index];
    }
    for (int n = 0; n < w.outputs(); n++)
      if (w.rows[n] >= 0) gradients[3][w.rows[n]] = project_bias[n];
  }
};

// Working memory for lines of up to `longest` pixels, and the pass over a line.
class PassLine {
 public:
  PassLine(const PassWeights& weights, long longest, bool backward, Arena& arena)
      : w(weights), pitch(w.pitch()), weights_pitch(w.weights_pitch()), radius(w.window.radius), cells(w.window.taps) {
    const long padded = longest + 2 * radius;
    x = arena.take(padded * pitch);
    for (size_t i = 1; i < w.lengths.size(); i++) means.push_back(arena.take(padded * pitch));
    hidden = arena.take(longest * pitch);
    weights_of_line = arena.take((backward ? padded : longest) * weights_pitch);
    if (!backward) return;
    if (weights_of_line) clear(weights_of_line, padded * weights_pitch);
    grad = arena.take(padded * pitch), hidden_grad = arena.take(padded * pitch);
    projected = arena.take(longest * weights_pitch);
    if (projected) clear(projected, longest * weights_pitch);
    for (size_t i = 1; i < w.lengths.size(); i++) sums.push_back(arena.take((longest + w.lengths[i]) * pitch));
  }

  // Memory for the n pixels of the input and of the gradient, with zeros around them.
  float* input(long n) const { return pad(x, n); }
  float* output_gradient(long n) const { return pad(grad, n); }

  // Writes the results of n pixels; the pixels of `line` have neighbors.
  void forward(const float* line, long n, float* out, long out_pitch) {
    with_sizes(w.layout, w.window.taps, [&](auto sizes) {
      weigh(sizes, line, n, weights_of_line);
      for (long p = 0; p < n; p++)
        aggregate(sizes, weights_of_line + p * weights_pitch, p * sizes.pitch, out + p * out_pitch);
    });
  }

  // Writes the gradients of the n pixels of `input`, given `output_gradient`, and adds those of the parameters.
  void backward(long n, PassGradients& gradients, float* out, long out_pitch) {
    with_sizes(w.layout, w.window.taps, [&](auto sizes) { backward(sizes, n, gradients, out, out_pitch); });
  }

 private:
  const PassWeights& w;
  const long pitch, weights_pitch, radius;
  float *x, *hidden, *weights_of_line, *grad = nullptr, *hidden_grad = nullptr, *projected = nullptr;
  std::vector<float*> means;        // of the cells that start at a pixel, for each length above 1
  std::vector<const float*> cells;  // means of each tap's cell for the first pixel
  std::vector<float*> sums;         // gradients of the means

  struct Source {
    long weight, grad;  // distances of a pixel whose cell starts at a pixel
  };
  std::vector<Source> sources;

  float* pad(float* line, long n) const {
    clear(line, radius * pitch);
    clear(line + (radius + n) * pitch, radius * pitch);
    return line + radius * pitch;
  }

  template <class S>
  void backward(S sizes, long n, PassGradients& gradients, float* out, long out_pitch) {
    const float* line = x + radius * pitch;
    float *weights = weights_of_line + radius * weights_pitch, *g = hidden_grad + radius * pitch;
    clear(weights_of_line, radius * weights_pitch);
    clear(weights + n * weights_pitch, radius * weights_pitch);
    weigh(sizes, line, n, weights);
    for (long p = 0; p < n; p++) weight_gradients(sizes, p, projected + p * weights_pitch);
    for (long i = 0; i < n * weights_pitch; i += kLanes) {
      const Vec value = load(weights + i);
      store(projected + i, load(projected + i) * (1.0f - value * value));
    }
    pad(hidden_grad, n);
    multiply(w.project_transposed, {projected, weights_pitch}, n, g, pitch);
    add_sums({projected, weights_pitch}, int(weights_pitch), n, gradients.project_bias);
    add_sums({g, pitch}, int(pitch), n, gradients.kernel_bias);
    add_outer_product(w.bf16, {projected, weights_pitch}, w.outputs(), {hidden, pitch}, int(pitch), n,
                      gradients.project);
    add_kernel_gradient(g, x, sizes.pitch, w.window.size(), n, gradients.kernel);
    input_gradients(sizes, weights, n, out, out_pitch);
    const float* last_tap = w.kernel + (w.window.size() - 1) * pitch;
    convolve(hidden_grad, sizes.pitch, last_tap, -pitch, w.window.size(), nullptr, n, out, out_pitch);
  }

  // Computes hidden and the weights of n pixels, and the means of their cells.
  template <class S>
  void weigh(S sizes, const float* line, long n, float* weights) {
    const float* first = line - radius * pitch;
    convolve(first, sizes.pitch, w.kernel, pitch, w.window.size(), w.kernel_bias, n, hidden, pitch);
    multiply(w.project, {hidden, pitch}, n, weights, weights_pitch);
    for (long p = 0; p < n; p++)
      for (int i = 0; i < w.project.cols; i += kLanes)
        store(weights + p * weights_pitch + i, tanh(load(weights + p * weights_pitch + i)));
    for (size_t i = 1; i < w.lengths.size(); i++) {
      const int length = w.lengths[i], shorter = w.lengths[i - 1];
      const float* half = i > 1 ? means[i - 2] : first;
      const long end = (n + 2 * radius - length + 1) * pitch;
      if (length == 2 * shorter)
        for (long j = 0; j < end; j += kLanes)
          store(means[i - 1] + j, 0.5f * (load(half + j) + load(half + j + shorter * pitch)));
      else
        for (long j = 0; j < end; j += kLanes) {
          Vec sum = load(first + j);
          for (int k = 1; k < length; k++) sum += load(first + j + k * pitch);
          store(means[i - 1] + j, sum * (1.0f / length));
        }
    }
    for (int k = 0; k < w.window.taps; k++)
      cells[k] = (w.groups[k] ? means[w.groups[k] - 1] : first) + (radius + w.window.first[k]) * pitch;
  }

  // Calls work with the first vectors of a pixel and their number.
  template <class S, class Work>
  static INLINE_MEMBER void for_each_vectors(S sizes, Work work) {
    const int vectors = sizes.pitch / kLanes;
    int i = 0;
    for (; i + 4 <= vectors; i += 4) work(i, std::integral_constant<int, 4>());
    for (; i + 2 <= vectors; i += 2) work(i, std::integral_constant<int, 2>());
    for (; i < vectors; i++) work(i, std::integral_constant<int, 1>());
  }

  // Weights of a pixel for the heads, and the features that they scale.
  struct Term {
    const float *weights, *features;
  };

  // Writes the sum of weights · features over the terms of a pixel.
  template <class S, class TermOf>
  static INLINE_MEMBER void sum_terms(S sizes, int terms, TermOf term_of, float* out) {
    for_each_vectors(sizes, [&](int first, auto count) {
      constexpr int vectors = decltype(count)::value;
      Vec sum[vectors] = {};
      int heads[vectors];  // the first head of each vector
      UNROLL for (int i = 0; i < vectors; i++)
        heads[i] = (first + i) * kLanes / sizes.head_pitch * S::heads_per_vector;
      for (int k = 0; k < terms; k++) {
        const Term term = term_of(k);
        UNROLL for (int i = 0; i < vectors; i++)
          sum[i] += spread<S::heads_per_vector>(term.weights + heads[i]) * load(term.features + (first + i) * kLanes);
      }
      UNROLL for (int i = 0; i < vectors; i++) store(out + (first + i) * kLanes, sum[i]);
    });
  }

  template <class S>
  INLINE_MEMBER void aggregate(S sizes, const float* weights, long offset, float* out) const {
    sum_terms(sizes, sizes.taps, [&](int k) { return Term{weights + k * sizes.heads, cells[k] + offset}; }, out);
  }

  // Gradients of the weights of a pixel: sums over the channels of a head, for four heads at a time. Four vectors have
  // the products of those for as many taps as a vector has heads.
  template <class S>
  INLINE_MEMBER void weight_gradients(S sizes, long p, float* out) const {
    constexpr int taps = S::heads_per_vector, vectors = 4 / taps;
    const float* g = grad + (radius + p) * sizes.pitch;
    for (int k = 0; k < sizes.taps; k += taps)
      for (int head = 0; head < sizes.heads; head += 4) {
        Vec products[4] = {};
        UNROLL for (int i = 0; i < 4; i++) {
          const int tap = k + i / vectors, first = (head / taps + i % vectors) * sizes.head_pitch;
          if (tap >= sizes.taps || first >= sizes.pitch) continue;
          const float* cell = cells[tap] + p * sizes.pitch;
          for (int c = first; c < first + sizes.head_pitch; c += kLanes) products[i] += load(g + c) * load(cell + c);
        }
        Quad sums[taps];
        sum_parts<taps>(products, sums);
        for (int t = 0; t < taps && k + t < sizes.taps; t++) store_quad(out + (k + t) * sizes.heads + head, sums[t]);
      }
  }

  // Gradients of the input through the cells.
  template <class S>
  void input_gradients(S sizes, const float* weights, long n, float* out, long out_pitch) {
    for (size_t i = 0; i < w.lengths.size(); i++) {
      const int before = w.lengths[i] - 1;  // pixels before the first one where a cell can start
      sources.clear();
      for (int k = 0; k < w.window.taps; k++) {
        const long start = w.window.first[k];
        if (w.groups[k] == int(i)) sources.push_back({k * sizes.heads - start * weights_pitch, -start * pitch});
      }
      for (long q = -before; q < n; q++)
        cell_gradients(sizes, weights + q * weights_pitch, grad + (radius + q) * pitch,
                       i ? sums[i - 1] + (q + before) * pitch : out + q * out_pitch);
    }
    for (size_t i = 1; i < w.lengths.size(); i++) {
      const int length = w.lengths[i];
      for (long q = 0; q < n; q++)
        for (int c = 0; c < pitch; c += kLanes) {
          const float* last = sums[i - 1] + q * pitch + c;
          Vec sum = load(last);
          for (int j = 1; j < length; j++) sum += load(last + j * pitch);
          add(out + q * out_pitch + c, sum * (1.0f / length));
        }
    }
  }

  template <class S>
  INLINE_MEMBER void cell_gradients(S sizes, const float* weights, const float* g, float* out) const {
    sum_terms(sizes, int(sources.size()),
              [&](int k) { return Term{weights + sources[k].weight, g + sources[k].grad}; }, out);
  }
};

}  // namespace lamnet
