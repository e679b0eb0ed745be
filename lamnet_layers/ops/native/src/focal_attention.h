// A focal pass on its own, forward and backward.
#pragma once

#include "focal_pass.h"

namespace lamnet {

struct FocalPassConfig {
  int32_t dim, heads, taps, radius;
  const int32_t *first, *length;  // cells of the window
  int32_t vertical;
  int32_t bf16;  // whether the products are in bfloat16
};

// Maps of one image; `hidden` and `weights` are for the backward pass only.
struct FocalPassMaps {
  Map x, hidden, weights;

  FocalPassMaps(const PassWeights& w, const Map& map)
      : x(map), hidden(map.from(w.channels)), weights(map.from(2 * w.channels)) {}

  static int channels(int dim, int outputs, bool save) { return odd(dim + (save ? dim + outputs : 0)); }
};

// Maps of one image in the backward pass.
struct FocalPassGradientMaps {
  Map result, hidden;

  FocalPassGradientMaps(const PassWeights& w, const Map& map) : result(map), hidden(map.from(w.channels)) {}

  static int channels(int dim) { return odd(2 * dim); }
};

class FocalPass {
 public:
  FocalPass(const PassWeights& weights, const Shape& shape, bool vertical)
      : w(weights), shape(shape), vertical(vertical), n(round_up(shape.width)), radius(w.window.radius),
        padded(round_up(shape.width + 2 * radius) + kLanes),
        rows(std::min<long>(shape.height, std::max<long>(1, 512 / n))) {}

  long scratch() const {
    return block_pitch(rows, padded) * (w.channels + w.outputs()) +
           (3 * w.channels + 2 * w.outputs() + 1) * padded + (rows + 2 * radius) * n + 4096;
  }

  void forward(const Team& team, const Map& x, const Map& out, const FocalPassMaps& maps, bool save,
               float* buffer) const {
    const long begin = team.begin(shape.height), end = team.end(shape.height);
    for (long y = begin; y < end; y++) copy_row(x, w.channels, y, 0, shape.width, maps.x.at(y), n, n);
    team.sync();
    for (long y = begin; y < end; y++) {
      Arena arena(buffer);
      float *result = arena.take(w.channels * n), *line = arena.take(w.channels * padded + kLanes);
      float* hidden = save ? maps.hidden.at(y) : arena.take(w.channels * n);
      float* weights = save ? maps.weights.at(y) : arena.take(w.outputs() * n);
      w.forward(input_line(maps.x, w.channels, y, line), n, hidden, n, weights, n, result, n);
      write_row(result, n, w.channels, shape.width, Map{}, out, y, 0);
    }
  }

  void backward(const Team& team, const Map& grad_out, const Map& grad_x, const FocalPassMaps& maps,
                const FocalPassGradientMaps& grads, PassGradients& sums, float* buffer) const {
    team.for_each_block(shape.height, rows, [&](long y, long end) {
      weight_gradients(grad_out, maps, grads, sums, y, end, Arena(buffer));
    });
    team.sync();
    for (long y = team.begin(shape.height); y < team.end(shape.height); y++) {
      Arena arena(buffer);
      float *result = arena.take(w.channels * n), *weights = arena.take(w.outputs() * padded + kLanes);
      float *grad = arena.take(w.channels * padded + kLanes), *hidden = arena.take(w.channels * padded + kLanes);
      w.backward_input(input_line(grads.result, w.channels, y, grad), input_line(maps.weights, w.outputs(), y, weights),
                       input_line(grads.hidden, w.channels, y, hidden), n, result, n);
      write_row(result, n, w.channels, shape.width, Map{}, grad_x, y, 0);
    }
    team.sync();
  }

 private:
  const PassWeights& w;
  const Shape shape;
  const bool vertical;
  const long n, radius, padded, rows;

  // Line of a row of a map; `storage` receives a padded copy for horizontal passes.
  Line input_line(const Map& map, int channels, long y, float* storage) const {
    return input_line(map, channels, y, storage, padded);
  }

  Line input_line(const Map& map, int channels, long y, float* storage, long pitch) const {
    if (vertical) return column_line(map, y, 0, shape.height, w.window);
    copy_row(map, channels, y, 0, shape.width, storage, pitch, padded, radius);
    return row_line(storage, pitch, w.window);
  }

  void weight_gradients(const Map& grad_out, const FocalPassMaps& maps, const FocalPassGradientMaps& grads,
                        PassGradients& sums, long begin, long end, Arena arena) const {
    const long count = end - begin, block = block_pitch(rows, n), padded_block = block_pitch(rows, padded);
    float *projected = arena.take(w.outputs() * block), *lines = arena.take(w.channels * padded_block + kLanes);
    float* column = arena.take((rows + 2 * radius) * n);
    for (long y = begin; y < end; y++) {
      copy_row(grad_out, w.channels, y, 0, shape.width, grads.result.at(y), n, n);
      const Line x = input_line(maps.x, w.channels, y, lines + (y - begin) * padded, padded_block);
      w.backward_weights(x, grads.result.at(y), n, maps.weights.at(y), n, n, projected + (y - begin) * n, block,
                         grads.hidden.at(y), n);
    }
    sums.add(w, {projected, block, n}, {grads.hidden.at(begin), n, grads.hidden.row},
             {maps.hidden.at(begin), n, maps.hidden.row}, count, n);
    if (vertical) {
      add_column_kernel_gradient(w, grads.hidden, maps.x, shape.height, begin, end, n, column, sums.kernel);
      return;
    }
    for (int c = 0; c < w.channels; c++)
      add_kernel_gradient(grads.hidden.at(begin) + c * n, grads.hidden.row, lines + c * padded_block, padded, 1, count,
                          n, w.size(), sums.kernel + c * w.size());
  }
};

}  // namespace lamnet
