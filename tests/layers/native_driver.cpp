// Runs the CPU kernels over awkward shapes, for builds with sanitizers and for other processors.
//
// All memory starts as NaN and tensors have their exact size. Outputs must be finite, equal for all numbers of threads
// up to rounding, and identical when repeated. The outputs on one thread are written to the file named by the argument:
// for each tensor its size as int64, then its values. With a second argument, products are in bfloat16.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "../../lamnet_layers/ops/native/src/bf16.h"  // before the macro: its headers declare posix_memalign

static int poisoned_memalign(void** result, size_t alignment, size_t size) {
  const int error = posix_memalign(result, alignment, size);
  if (!error) std::memset(*result, 0xff, size);
  return error;
}

#define posix_memalign poisoned_memalign
#include "../../lamnet_layers/ops/native/src/kernels.cpp"
#undef posix_memalign

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string current;
int bf16 = 0;

void check(bool condition, const char* message) {
  if (condition) return;
  std::fprintf(stderr, "%s: %s\n", current.c_str(), message);
  std::exit(1);
}

uint32_t random_state = 1;

float random_value() {
  random_state = random_state * 1664525u + 1013904223u;
  return float(random_state >> 8) / float(1 << 23) - 1.0f;
}

// Floats in a heap block of their exact size; every other block is aligned to one float only.
class Floats {
 public:
  explicit Floats(long n = 0) : size(n), offset_(count_++ % 2), block_(new float[n + offset_]) {
    std::fill(data(), data() + n, kNan);
  }

  float* data() const { return block_.get() + offset_; }

  void fill(float scale) {
    for (long i = 0; i < size; i++) data()[i] = scale * random_value();
  }

  void copy(const Floats& other) { std::copy(other.data(), other.data() + size, data()); }

  long size;

 private:
  static inline int count_ = 0;
  int offset_;
  std::unique_ptr<float[]> block_;
};

// Order of the strides of a tensor, and the gap after each pixel and row, or column.
struct Layout {
  bool columns_first;
  int gap;
};

// A tensor with NaN in its gaps.
struct Features {
  Floats values;
  Tensor tensor;
  long batch, channels, height, width;

  Features(const Shape& shape, int channels_, Layout layout)
      : batch(shape.batch), channels(channels_), height(shape.height), width(shape.width) {
    const long pixel = channels + layout.gap;
    const long column = layout.columns_first ? height * pixel + layout.gap : pixel;
    const long row = layout.columns_first ? pixel : width * pixel + layout.gap;
    const long image = layout.columns_first ? width * column : height * row;
    values = Floats((batch - 1) * image + (height - 1) * row + (width - 1) * column + channels);
    tensor = {values.data(), image, row, column};
  }

  template <class Visit>
  void each(Visit visit) const {
    for (long b = 0; b < batch; b++)
      for (long c = 0; c < channels; c++)
        for (long y = 0; y < height; y++)
          for (long x = 0; x < width; x++)
            visit(values.data()[b * tensor.batch_stride + y * tensor.row_stride + x * tensor.column_stride + c]);
  }

  Features& fill() {
    each([](float& value) { value = random_value(); });
    return *this;
  }

  std::vector<float> list() const {
    std::vector<float> result;
    each([&](float value) { result.push_back(value); });
    return result;
  }
};

// Cells of the focal window with the given strides and steps.
struct Cells {
  int radius = 0;
  std::vector<int> first = {0}, length = {1};

  Cells(std::initializer_list<std::pair<int, int>> rings) {
    for (auto [stride, steps] : rings)
      for (int i = 0; i < steps; i++) {
        first.push_back(radius + 1), length.push_back(stride);
        radius += stride;
        first.insert(first.begin(), -radius), length.insert(length.begin(), stride);
      }
  }

  int taps() const { return int(first.size()); }
};

using Outputs = std::vector<std::vector<float>>;

// The parameters of a kernel; absent ones have size 0.
struct Parameters {
  std::vector<Floats> values, grads;
  std::vector<float*> pointers, grad_pointers;

  explicit Parameters(const std::vector<long>& sizes) {
    for (long size : sizes) {
      values.emplace_back(size), grads.emplace_back(size);
      values.back().fill(0.5f);
      pointers.push_back(size ? values.back().data() : nullptr);
      grad_pointers.push_back(size ? grads.back().data() : nullptr);
    }
  }

  void add_grads(Outputs& outputs) {
    for (Floats& grad : grads) {
      outputs.emplace_back(grad.data(), grad.data() + grad.size);
      std::fill(grad.data(), grad.data() + grad.size, kNan);
    }
  }
};

struct Case {
  Shape shape;
  int dim;
  Layout layout;
  Parameters parameters;
};

// Runs a kernel forward without gradients, forward and backward.
template <class Config, class Maps, class Forward, class Backward>
Outputs run(const Config& config, Case& test, int threads, Maps maps, Forward forward, Backward backward) {
  Outputs outputs;
  random_state = 7;
  Parameters& parameters = test.parameters;
  const Layout dense = {false, 0};
  const Features x = std::move(Features(test.shape, test.dim, test.layout).fill());
  const Features grad = std::move(Features(test.shape, test.dim, test.layout).fill());
  const Features inference(test.shape, test.dim, dense), out(test.shape, test.dim, test.layout);
  const Features grad_x(test.shape, test.dim, test.layout);
  auto image_size = [&](int pass) {
    MapSizes sizes;
    maps(&config, pass, &sizes);
    return sizes.per_pixel * test.shape.height * test.shape.width + sizes.per_image;
  };
  const long together = test.shape.batch < threads ? 1 : threads;
  const long size = image_size(kInference), saved_size = image_size(kForward), working_size = image_size(kBackward);
  Floats memory(size * together), saved(saved_size * test.shape.batch), working(working_size * together);
  float* const* parameters_of_kernel = parameters.pointers.data();
  forward(&config, &test.shape, &x.tensor, &inference.tensor, parameters_of_kernel, memory.data(), size, 0, threads);
  forward(&config, &test.shape, &x.tensor, &out.tensor, parameters_of_kernel, saved.data(), saved_size, 1, threads);
  Floats copy(saved.size);
  copy.copy(saved);
  backward(&config, &test.shape, &x.tensor, &grad.tensor, &grad_x.tensor, parameters_of_kernel, saved.data(), saved_size,
           working.data(), working_size, parameters.grad_pointers.data(), threads);
  check(!std::memcmp(saved.data(), copy.data(), saved.size * sizeof(float)), "saved maps changed");
  for (const Features* features : {&inference, &out, &grad_x}) outputs.push_back(features->list());
  parameters.add_grads(outputs);
  return outputs;
}

// Runs a kernel with 1 to 4 threads; every run has threads of its own, and thus no memory from earlier runs.
template <class Run>
void compare(std::FILE* file, const std::string& name, Run run) {
  Outputs expected;
  for (int threads = 1; threads <= 4; threads++) {
    current = name + ", threads " + std::to_string(threads);
    Outputs first, second;
    std::thread([&] { first = run(threads); }).join();
    if (threads % 2) std::thread([&] { second = run(threads); }).join();
    if (threads == 1) expected = first;
    for (size_t i = 0; i < first.size(); i++) {
      const size_t n = first[i].size();
      check(!(threads % 2) || !n || !std::memcmp(first[i].data(), second[i].data(), n * sizeof(float)),
            "results differ when repeated");
      float largest = 1, error = 0;  // sums of random signs may be near 0
      for (size_t j = 0; j < n; j++) {
        check(std::isfinite(first[i][j]), ("output " + std::to_string(i) + " is not finite").c_str());
        largest = std::max(largest, std::abs(expected[i][j]));
        error = std::max(error, std::abs(first[i][j] - expected[i][j]));
      }
      check(i > 1 || !error, ("output " + std::to_string(i) + " depends on the threads").c_str());
      check(error <= (bf16 ? 2e-2f : 1e-5f) * largest, ("output " + std::to_string(i) + " depends on the threads").c_str());
    }
    check(first[0].size() == first[1].size(), "sizes differ");
    for (size_t j = 0; j < first[0].size(); j++)
      check(std::abs(first[0][j] - first[1][j]) <= 1e-5f * (1 + std::abs(first[1][j])), "inference differs");
  }
  for (const std::vector<float>& values : expected) {
    const int64_t size = int64_t(values.size());
    std::fwrite(&size, sizeof(size), 1, file);
    if (size) std::fwrite(values.data(), sizeof(float), values.size(), file);
  }
}

void test_focal_pass(std::FILE* file, const std::string& name, Shape shape, Layout layout, int dim, int heads,
                     const Cells& cells, bool vertical) {
  const long outputs = heads * cells.taps();
  random_state = 3;
  Case test = {shape, dim, layout, Parameters({dim * (2L * cells.radius + 1), dim, outputs * dim, outputs})};
  const FocalPassConfig config = {dim,         heads, cells.taps(), cells.radius, cells.first.data(), cells.length.data(),
                                  vertical,    bf16};
  compare(file, name, [&](int threads) {
    return run(config, test, threads, lamnet_focal_pass_maps, lamnet_focal_pass_forward, lamnet_focal_pass_backward);
  });
}

void test_mixer(std::FILE* file, const std::string& name, Shape shape, Layout layout, int dim, int heads, int reduced,
                const Cells& cells, bool norm, bool residual) {
  const long half = dim / 2, taps = heads * cells.taps(), kernel = half * (2 * cells.radius + 1);
  random_state = 4;
  Case test = {shape, dim, layout,
               Parameters({norm * dim, norm * dim, dim * dim, dim, reduced * half, reduced, half * reduced, half,
                           kernel, half, taps * half, taps, kernel, half, taps * half, taps, dim * dim, dim,
                           residual * dim})};
  const MixerConfig config = {dim, reduced, heads, cells.taps(), cells.radius, cells.first.data(), cells.length.data(),
                              1e-5f, bf16};
  compare(file, name, [&](int threads) {
    return run(config, test, threads, lamnet_mixer_maps, lamnet_mixer_forward, lamnet_mixer_backward);
  });
}

void test_feed_forward(std::FILE* file, const std::string& name, Shape shape, Layout layout, int dim, int hidden,
                       bool norm, bool residual) {
  const long both = 2 * hidden;
  random_state = 5;
  Case test = {shape, dim, layout,
               Parameters({norm * dim, norm * dim, both * dim, both, both * 9, both, dim * both, dim, residual * dim})};
  const FeedForwardConfig config = {dim, hidden, 1e-5f, bf16};
  compare(file, name, [&](int threads) {
    return run(config, test, threads, lamnet_feed_forward_maps, lamnet_feed_forward_forward,
               lamnet_feed_forward_backward);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: native_driver OUTPUT [bf16]\n"), 2;
  bf16 = argc > 2;
  if (bf16 && !lamnet_bf16_available()) return std::fprintf(stderr, "needs AMX\n"), 2;
  std::FILE* file = std::fopen(argv[1], "wb");
  if (!file) return std::perror(argv[1]), 2;
  const Cells windows[] = {Cells({}), Cells({{1, 1}, {2, 1}}), Cells({{1, 3}, {2, 2}, {4, 1}}), Cells({{3, 1}, {1, 2}})};
  const std::pair<long, long> sizes[] = {{1, 1},  {1, 5},  {7, 1},  {3, 4},  {4, 8},  {5, 9},   {2, 16},  {3, 17},  {6, 31},
                                         {2, 48}, {3, 49}, {2, 64}, {3, 65}, {2, 97}, {2, 130}, {40, 3}, {70, 7}, {2, 520}};
  struct Widths {
    int dim, heads, reduced, hidden;
  };
  const Widths widths[] = {{64, 4, 8, 64}, {20, 2, 3, 5}, {32, 4, 8, 16}, {6, 3, 1, 1}, {2, 1, 2, 7}, {136, 4, 17, 40}};
  int number = 0;
  for (auto [height, width] : sizes)
    for (const Widths& w : widths) {
      const Cells& cells = windows[(number + number / 4) % 4];
      const Shape shape = {1 + number % 3, height, width};
      const Layout layout = {number % 2 == 1, number % 5};
      const bool norm = number % 7 < 5, residual = number % 5 < 3;
      const std::string suffix = " " + std::to_string(shape.batch) + "x" + std::to_string(w.dim) + "x" +
                                 std::to_string(height) + "x" + std::to_string(width) + ", window " +
                                 std::to_string(cells.taps()) + ", case " + std::to_string(number);
      test_focal_pass(file, "focal pass" + suffix, shape, layout, w.dim, w.heads, cells, number % 2);
      if (w.dim / 2 % w.heads == 0)
        test_mixer(file, "mixer" + suffix, shape, layout, w.dim, w.heads, w.reduced, cells, norm, residual);
      test_feed_forward(file, "feed-forward" + suffix, shape, layout, w.dim, w.hidden, norm, residual);
      number++;
    }
  std::fclose(file);
  std::printf("%d cases, %d lanes\n", number, kLanes);
}
