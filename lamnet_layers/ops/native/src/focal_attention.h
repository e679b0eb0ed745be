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

class FocalPass {
 public:
  FocalPass(const PassWeights& weights, const Shape& shape, bool vertical)
      : w(weights), lines(vertical ? shape.width : shape.height), n(vertical ? shape.height : shape.width),
        vertical(vertical) {}

  struct Memory {
    PassLine line;
    float* result;

    Memory(const FocalPass& pass, bool backward, Arena& arena)
        : line(pass.w, pass.n, backward, arena), result(arena.take(pass.n * pass.w.pitch())) {}
  };

  void forward(const Team& team, const Map& x, const Map& out, Memory&& memory) const {
    for (long i = team.begin(lines); i < team.end(lines); i++) {
      float* line = memory.line.input(n);
      read(x, i, line);
      memory.line.forward(line, n, memory.result, w.pitch());
      write(memory.result, out, i);
    }
  }

  void backward(const Team& team, const Map& x, const Map& grad_out, const Map& grad_x, PassGradients& sums,
                Memory&& memory) const {
    for (long i = team.begin(lines); i < team.end(lines); i++) {
      read(x, i, memory.line.input(n));
      read(grad_out, i, memory.line.output_gradient(n));
      memory.line.backward(n, sums, memory.result, w.pitch());
      write(memory.result, grad_x, i);
    }
  }

 private:
  const PassWeights& w;
  const long lines, n;
  const bool vertical;

  float* pixel(const Map& map, long line, long i) const { return vertical ? map.at(i, line) : map.at(line, i); }

  void read(const Map& map, long line, float* to) const {
    const HeadLayout& layout = w.layout;
    for (long i = 0; i < n; i++, to += layout.pitch) {
      const float* from = pixel(map, line, i);
      if (!layout.is_padded()) {
        copy(from, layout.channels, to);
        continue;
      }
      clear(to, layout.pitch);
      for (int c = 0; c < layout.channels; c++) to[layout.index(c)] = from[c];
    }
  }

  void write(const float* from, const Map& map, long line) const {
    const HeadLayout& layout = w.layout;
    for (long i = 0; i < n; i++, from += layout.pitch) {
      float* to = pixel(map, line, i);
      if (!layout.is_padded()) copy(from, layout.channels, to);
      else for (int c = 0; c < layout.channels; c++) to[c] = from[layout.index(c)];
    }
  }
};

}  // namespace lamnet
