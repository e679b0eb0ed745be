// One pass of focal separable attention along one axis, line by line, forward and backward.
//
//   hidden = depthwise(x)   weights = tanh(project(hidden))   out[p] = Σ_k weights[k, p] · mean of cell k of x around p
//
// The functions work on n adjacent pixels of a row, for both axes: a Line gives the distance between the pixels that a
// tap steps over, 1 along the row and the row stride along the column, and the range of offsets inside the image.
// Horizontal lines are zero-padded instead, and have all offsets.
#pragma once

#include "image.h"

namespace lamnet {

struct Line {
  const float* data;  // first pixel, offset 0
  long channel, step;
  long low, high;  // valid offsets, inclusive

  const float* at(long offset) const { return data + offset * step; }
};

struct Window {
  int radius, taps;
  const int *first, *length;  // of the cell of each tap; `first` relative to the center

  int size() const { return 2 * radius + 1; }
};

INLINE Line row_line(const float* padded, long pitch, const Window& window) {
  return {padded + window.radius, pitch, 1, -window.radius, window.radius};
}

INLINE Line column_line(const Map& map, long y, long x, long height, const Window& window) {
  return {map.at(y) + x, map.channel, map.row, std::max<long>(-window.radius, -y),
          std::min<long>(window.radius, height - 1 - y)};
}

// out[c, p] = bias[c] + Σ_t kernel[c, t] · x[c, p + t − radius]; without bias, the sum is added to out.
template <int CHANNELS, int VECS>
INLINE void convolve_tile(const Line& x, const float* kernel, const float* bias, int size, long p, float* out,
                          long pitch) {
  const int radius = size / 2;
  Vec sum[CHANNELS][VECS];
  UNROLL for (int i = 0; i < CHANNELS; i++)
    UNROLL for (int j = 0; j < VECS; j++)
      sum[i][j] = bias ? broadcast(bias[i]) : load(out + i * pitch + p + j * kLanes);
  for (long t = x.low; t <= x.high; t++) {
    const float* tap = x.at(t) + p;
    UNROLL for (int i = 0; i < CHANNELS; i++) {
      const Vec w = broadcast(kernel[i * size + radius + t]);
      UNROLL for (int j = 0; j < VECS; j++) sum[i][j] += w * load(tap + i * x.channel + j * kLanes);
    }
  }
  UNROLL for (int i = 0; i < CHANNELS; i++)
    UNROLL for (int j = 0; j < VECS; j++) store(out + i * pitch + p + j * kLanes, sum[i][j]);
}

template <int CHANNELS>
INLINE void convolve_channels(const Line& x, const float* kernel, const float* bias, int size, long n, float* out,
                              long pitch) {
  long p = 0;
  for (; p + 4 * kLanes <= n; p += 4 * kLanes) convolve_tile<CHANNELS, 4>(x, kernel, bias, size, p, out, pitch);
  for (; p + 2 * kLanes <= n; p += 2 * kLanes) convolve_tile<CHANNELS, 2>(x, kernel, bias, size, p, out, pitch);
  for (; p < n; p += kLanes) convolve_tile<CHANNELS, 1>(x, kernel, bias, size, p, out, pitch);
}

static void convolve(const Line& x, int channels, const float* kernel, const float* bias, int size, long n, float* out,
                     long pitch) {
  int c = 0;
  for (; c + 2 <= channels; c += 2)
    convolve_channels<2>({x.data + c * x.channel, x.channel, x.step, x.low, x.high}, kernel + c * size,
                         bias ? bias + c : nullptr, size, n, out + c * pitch, pitch);
  if (c < channels)
    convolve_channels<1>({x.data + c * x.channel, x.channel, x.step, x.low, x.high}, kernel + c * size,
                         bias ? bias + c : nullptr, size, n, out + c * pitch, pitch);
}

// The part of a tap's cell that is inside the image.
struct Cell {
  int tap;
  long offset, length;  // distance to the first pixel; number of pixels
  float scale;          // 1 / length of the whole cell
};

// Cells of a line, without those outside the image. Valid until the next call in the thread.
static const std::vector<Cell>& cells_of(const Line& x, const Window& window) {
  static thread_local std::vector<Cell> cells;
  cells.clear();
  for (int k = 0; k < window.taps; k++) {
    const long first = std::max<long>(window.first[k], x.low);
    const long last = std::min<long>(window.first[k] + window.length[k] - 1, x.high);
    if (first <= last) cells.push_back({k, first * x.step, last - first + 1, 1.0f / window.length[k]});
  }
  return cells;
}

// Calls work with the length of a cell as a constant if it is common, since loops over cells are short.
template <class Work>
INLINE void with_length(long length, Work work) {
  if (length == 1) work(std::integral_constant<long, 1>());
  else if (length == 2) work(std::integral_constant<long, 2>());
  else if (length == 4) work(std::integral_constant<long, 4>());
  else if (length > 0) work(length);
}

template <class Length>
INLINE Vec cell_sum(const float* x, long step, Length length) {
  Vec sum = load(x);
  for (long i = 1; i < length; i++) sum += load(x + i * step);
  return sum;
}

template <int CHANNELS, int VECS>
INLINE void aggregate_tile(const float* x, long channel, long step, const std::vector<Cell>& cells,
                           const float* weights, long weight_pitch, float* out, long pitch) {
  Vec sum[CHANNELS][VECS] = {};
  for (const Cell& cell : cells) {
    Vec w[VECS];
    UNROLL for (int j = 0; j < VECS; j++) w[j] = load(weights + cell.tap * weight_pitch + j * kLanes) * cell.scale;
    const float* first = x + cell.offset;
    with_length(cell.length, [&](auto length) {
      UNROLL for (int i = 0; i < CHANNELS; i++)
        UNROLL for (int j = 0; j < VECS; j++)
          sum[i][j] += w[j] * cell_sum(first + i * channel + j * kLanes, step, length);
    });
  }
  UNROLL for (int i = 0; i < CHANNELS; i++)
    UNROLL for (int j = 0; j < VECS; j++) store(out + i * pitch + j * kLanes, sum[i][j]);
}

// Calls tile(channels, vectors, channel, pixel) to cover the channels of a head and n pixels.
template <class Tile>
INLINE void for_each_tile(int first, int end, long n, Tile tile) {
  using std::integral_constant;
  int c = first;
  for (; c + 4 <= end; c += 4) {
    long p = 0;
    for (; p + 2 * kLanes <= n; p += 2 * kLanes) tile(integral_constant<int, 4>(), integral_constant<int, 2>(), c, p);
    for (; p < n; p += kLanes) tile(integral_constant<int, 4>(), integral_constant<int, 1>(), c, p);
  }
  for (; c < end; c++)
    for (long p = 0; p < n; p += kLanes) tile(integral_constant<int, 1>(), integral_constant<int, 1>(), c, p);
}

static void aggregate(const Line& x, int channels, int heads, const Window& window, const float* weights,
                      long weight_pitch, long n, float* out, long pitch) {
  const int width = channels / heads;
  const std::vector<Cell>& cells = cells_of(x, window);
  for (int h = 0; h < heads; h++, weights += window.taps * weight_pitch)
    for_each_tile(h * width, (h + 1) * width, n, [&](auto count, auto vectors, int c, long p) {
      aggregate_tile<count, vectors>(x.data + c * x.channel + p, x.channel, x.step, cells, weights + p, weight_pitch,
                                     out + c * pitch + p, pitch);
    });
}

// Adds Σ_j grad[j, p] · sum of cell k of x[j] to out[k, p], for some channels j of a head and one vector of pixels.
template <int CHANNELS>
INLINE void weight_gradient_tile(const float* x, long channel, long step, const std::vector<Cell>& cells,
                                 const float* grad, long grad_pitch, float* out, long pitch) {
  Vec g[CHANNELS];
  UNROLL for (int i = 0; i < CHANNELS; i++) g[i] = load(grad + i * grad_pitch);
  for (const Cell& cell : cells) {
    Vec sums[2] = {load(out + cell.tap * pitch)};
    with_length(cell.length, [&](auto length) {
      UNROLL for (int i = 0; i < CHANNELS; i++)
        sums[i % 2] += g[i] * cell_sum(x + cell.offset + i * channel, step, length);
    });
    store(out + cell.tap * pitch, sums[0] + sums[1]);
  }
}

// Gradient of the weights before the tanh: out[k, p] = (1 − weights²) · Σ_j grad[j, p] · mean of cell k of x[j].
static void aggregate_backward_weights(const Line& x, int channels, int heads, const Window& window,
                                       const float* grad, long grad_pitch, const float* weights, long weight_pitch,
                                       long n, float* out, long pitch) {
  const int width = channels / heads;
  const std::vector<Cell>& cells = cells_of(x, window);
  for (int h = 0; h < heads; h++) {
    float* result = out + h * window.taps * pitch;
    clear_columns(result, pitch, window.taps, 0, n);
    for (long p = 0; p < n; p += kLanes)
      for (int c = 0, count; c < width; c += count) {
        const int channel = h * width + c;
        const float *features = x.data + channel * x.channel + p, *g = grad + channel * grad_pitch + p;
        count = width - c >= 8 ? 8 : width - c >= 4 ? 4 : 1;
        if (count == 8)
          weight_gradient_tile<8>(features, x.channel, x.step, cells, g, grad_pitch, result + p, pitch);
        else if (count == 4)
          weight_gradient_tile<4>(features, x.channel, x.step, cells, g, grad_pitch, result + p, pitch);
        else
          weight_gradient_tile<1>(features, x.channel, x.step, cells, g, grad_pitch, result + p, pitch);
      }
    for (int k = 0; k < window.taps; k++, result += pitch, weights += weight_pitch)
      for (long p = 0; p < n; p += kLanes) {
        const Vec w = load(weights + p);
        store(result + p, load(result + p) * (1.0f / window.length[k]) * (1.0f - w * w));
      }
  }
}

// A pixel p whose cell contains the pixel q: its distances from q in the weights and in the gradient.
struct Source {
  long weight, grad;
  float scale;  // 1 / length of the cell
};

// Pixel q is in cell k of the pixels q − o, for each offset o of the cell. Valid until the next call in the thread.
static const std::vector<Source>& sources_of(const Line& grad, const Line& weights, const Window& window) {
  static thread_local std::vector<Source> sources;
  sources.clear();
  for (int k = 0; k < window.taps; k++)
    for (long o = window.first[k]; o < window.first[k] + window.length[k]; o++)
      if (-o >= grad.low && -o <= grad.high)
        sources.push_back({k * weights.channel - o * weights.step, -o * grad.step, 1.0f / window.length[k]});
  return sources;
}

template <int CHANNELS, int VECS>
INLINE void scatter_tile(const float* grad, long channel, const float* weights, const std::vector<Source>& sources,
                         float* out, long pitch) {
  Vec sum[CHANNELS][VECS] = {};
  for (const Source& source : sources) {
    const float *w = weights + source.weight, *g = grad + source.grad;
    Vec scaled[VECS];
    UNROLL for (int j = 0; j < VECS; j++) scaled[j] = load(w + j * kLanes) * source.scale;
    UNROLL for (int i = 0; i < CHANNELS; i++)
      UNROLL for (int j = 0; j < VECS; j++) sum[i][j] += scaled[j] * load(g + i * channel + j * kLanes);
  }
  UNROLL for (int i = 0; i < CHANNELS; i++)
    UNROLL for (int j = 0; j < VECS; j++) store(out + i * pitch + j * kLanes, sum[i][j]);
}

// Gradient of the aggregated features: out[q] = Σ_k Σ_(p: q in cell k of p) weights[k, p] · grad[p] / length of cell k.
static void aggregate_backward_input(const Line& grad, int channels, int heads, const Line& weights,
                                     const Window& window, long n, float* out, long pitch) {
  const int width = channels / heads;
  const std::vector<Source>& sources = sources_of(grad, weights, window);
  for (int h = 0; h < heads; h++) {
    const float* head = weights.data + h * window.taps * weights.channel;
    for_each_tile(h * width, (h + 1) * width, n, [&](auto count, auto vectors, int c, long p) {
      scatter_tile<count, vectors>(grad.data + c * grad.channel + p, grad.channel, head + p, sources,
                                   out + c * pitch + p, pitch);
    });
  }
}

template <int TAPS>
static void kernel_gradient_tile(const float* grad, long grad_line, const float* x, long x_line, long step, long lines,
                                 long n, float* out) {
  Vec sum[TAPS] = {};
  for (long line = 0; line < lines; line++, grad += grad_line, x += x_line)
    for (long p = 0; p < n; p += kLanes) {
      const Vec g = load(grad + p);
      UNROLL for (int t = 0; t < TAPS; t++) sum[t] += g * load(x + t * step + p);
    }
  UNROLL for (int t = 0; t < TAPS; t++) out[t] += sum_lanes(sum[t]);
}

// out[t] += Σ_p grad[p] · x[p + t · step] for the taps of one channel, over a block of lines; x starts at the first tap.
static void add_kernel_gradient(const float* grad, long grad_line, const float* x, long x_line, long step, long lines,
                                long n, int size, float* out) {
  int t = 0;
  for (; t + 12 <= size; t += 12)
    kernel_gradient_tile<12>(grad, grad_line, x + t * step, x_line, step, lines, n, out + t);
  if (t + 11 == size) {
    kernel_gradient_tile<11>(grad, grad_line, x + t * step, x_line, step, lines, n, out + t);
    return;
  }
  for (; t + 4 <= size; t += 4)
    kernel_gradient_tile<4>(grad, grad_line, x + t * step, x_line, step, lines, n, out + t);
  for (; t < size; t++) kernel_gradient_tile<1>(grad, grad_line, x + t * step, x_line, step, lines, n, out + t);
}

// Parameters of a pass and, for the backward pass, their transposes.
struct PassWeights {
  Window window;
  int channels, heads;
  bool bf16;
  const float *kernel, *kernel_bias;
  Matrix project, project_transposed;
  const float* flipped;  // kernel with reversed taps

  int outputs() const { return heads * window.taps; }
  int size() const { return window.size(); }

  void prepare(const Window& window_, int channels_, int heads_, bool bf16_, const float* const* parameters,
               Arena& arena, bool backward) {
    window = window_, channels = channels_, heads = heads_, bf16 = bf16_;
    kernel = parameters[0], kernel_bias = parameters[1];
    const float *matrix = parameters[2], *bias = parameters[3];
    float* storage = arena.take(Matrix::size(outputs(), channels));
    float* transposed = backward ? arena.take(Matrix::size(channels, outputs())) : nullptr;
    float* reversed = backward ? arena.take(channels * size()) : nullptr;
    flipped = reversed;
    if (!storage) return;
    project.pack(outputs(), channels, bf16, storage, [&](int n, int k) { return matrix[n * channels + k]; },
                 [&](int n) { return bias[n]; });
    if (!backward) return;
    project_transposed.pack(channels, outputs(), bf16, transposed, [&](int n, int k) { return matrix[k * channels + n]; });
    for (int c = 0; c < channels; c++)
      for (int t = 0; t < size(); t++) reversed[c * size() + t] = kernel[c * size() + size() - 1 - t];
  }

  // hidden, weights and the result of n pixels.
  void forward(const Line& x, long n, float* hidden, long hidden_pitch, float* weights, long weight_pitch, float* out,
               long pitch) const {
    convolve(x, channels, kernel, kernel_bias, size(), n, hidden, hidden_pitch);
    multiply(project, hidden, hidden_pitch, n, weights, weight_pitch);
    for (int c = 0; c < outputs(); c++)
      for (long p = 0; p < n; p += kLanes)
        store(weights + c * weight_pitch + p, tanh(load(weights + c * weight_pitch + p)));
    aggregate(x, channels, heads, window, weights, weight_pitch, n, out, pitch);
  }

  // Gradients of the projection's output and of hidden, given the gradient of the result.
  void backward_weights(const Line& x, const float* grad, long grad_pitch, const float* weights, long weight_pitch,
                        long n, float* projected, long projected_pitch, float* hidden, long hidden_pitch) const {
    aggregate_backward_weights(x, channels, heads, window, grad, grad_pitch, weights, weight_pitch, n, projected,
                               projected_pitch);
    multiply(project_transposed, projected, projected_pitch, n, hidden, hidden_pitch);
  }

  // Gradient of x, given those of the result and of hidden around the n pixels.
  void backward_input(const Line& grad, const Line& weights, const Line& hidden, long n, float* out, long pitch) const {
    aggregate_backward_input(grad, channels, heads, weights, window, n, out, pitch);
    convolve(hidden, channels, flipped, nullptr, size(), n, out, pitch);
  }
};

// Sums of the parameter gradients of a pass, laid out as the parameters.
struct PassGradients {
  float *kernel, *kernel_bias, *project, *project_bias;

  void take(const PassWeights& pass, Arena&& arena) { take(pass, arena); }
  void take(const PassWeights& pass, Arena& arena) {
    kernel = arena.take(pass.channels * pass.size());
    kernel_bias = arena.take(pass.channels);
    project = arena.take(pass.outputs() * pass.channels);
    project_bias = arena.take(pass.outputs());
  }

  // Adds a block of lines, given the gradients of the projection's output and of hidden.
  void add(const PassWeights& pass, Block projected, Block hidden_grad, Block hidden, long lines, long n) {
    add_outer_product(pass.bf16, projected, pass.outputs(), hidden, pass.channels, lines, n, project);
    add_sums(projected, pass.outputs(), lines, n, project_bias);
    add_sums(hidden_grad, pass.channels, lines, n, kernel_bias);
  }

  void store(float* const* gradients, const PassWeights& pass) const {
    std::memcpy(gradients[0], kernel, pass.channels * pass.size() * sizeof(float));
    std::memcpy(gradients[1], kernel_bias, pass.channels * sizeof(float));
    std::memcpy(gradients[2], project, pass.outputs() * pass.channels * sizeof(float));
    std::memcpy(gradients[3], project_bias, pass.outputs() * sizeof(float));
  }
};

// Adds the gradient of a vertical kernel over rows [begin, end), from maps of hidden's gradient and of the input.
// `column` holds (rows + 2 · radius) × n floats.
static void add_column_kernel_gradient(const PassWeights& pass, const Map& grad, const Map& x, long height, long begin,
                                       long end, long n, float* column, float* out) {
  const int radius = pass.window.radius;
  for (int c = 0; c < pass.channels; c++) {
    for (long y = begin - radius; y < end + radius; y++) {
      float* line = column + (y - begin + radius) * n;
      if (y < 0 || y >= height) clear_line(line, n);
      else copy_line(x.at(y) + c * x.channel, n, line);
    }
    add_kernel_gradient(grad.at(begin) + c * grad.channel, grad.row, column, n, n, end - begin, n, pass.size(),
                        out + c * pass.size());
  }
}

}  // namespace lamnet
