// C interface of the CPU kernels, in float32 or with products in bfloat16. Tensors are (batch, channels, height, width)
// with channel stride 1.
//
// Maps hold what the backward pass needs, or are working memory. Parameters are arrays of pointers in the order of the
// enumerations; absent ones (norm, α) are null.

#include "feed_forward.h"
#include "focal_attention.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace lamnet;

namespace {

template <class Weights, class Config>
long weights_size(const Config& config, const float* const* parameters, bool backward) {
  Arena arena(nullptr);
  Weights(config, parameters, arena, backward);
  return arena.used();
}

struct PassParameters : PassWeights {
  PassParameters(const FocalPassConfig& config, const float* const* parameters, Arena& arena, bool backward) {
    const Window window = {config.radius, config.taps, config.first, config.length};
    prepare(window, HeadLayout(config.dim, config.heads), config.bf16, parameters, arena, backward);
  }
};

// Weights with their own memory.
template <class Weights>
struct Owned {
  Buffer buffer;
  Weights weights;

  template <class Config>
  Owned(const Config& config, const float* const* parameters, bool backward)
      : buffer(allocate(weights_size<Weights>(config, parameters, backward))),
        weights(make(config, parameters, backward)) {}

 private:
  template <class Config>
  Weights make(const Config& config, const float* const* parameters, bool backward) {
    Arena arena(buffer.get());
    return Weights(config, parameters, arena, backward);
  }
};

// Size of what `take` takes from an arena.
template <class Take>
long measure(Take take) {
  Arena arena(nullptr);
  take(arena);
  return arena.used();
}

// Maps in memory of the caller: of each image of the batch, or of each image that is processed at a time.
class Maps {
 public:
  Maps(const Shape& shape, int threads, float* data, int64_t image_size, bool of_each_image)
      : data_(data), image_size_(image_size), of_each_image_(of_each_image),
        together_(work_together(shape.batch, threads)) {
    use_huge_pages(data, image_size * (of_each_image ? shape.batch : together_ ? 1 : threads));
  }

  float* image(long image, int thread) const {
    return data_ + image_size_ * (of_each_image_ ? image : together_ ? 0 : thread);
  }

 private:
  float* data_;
  int64_t image_size_;
  bool of_each_image_, together_;
};

// Gradient sums of each thread.
class GradientSums {
 public:
  GradientSums(long size, int threads) : size_(size), threads_(threads), buffer_(allocate(size * threads)) {
    std::memset(buffer_.get(), 0, size * threads * sizeof(float));
  }

  Arena thread(int index) const { return Arena(buffer_.get() + index * size_); }

  // Adds the sums of the other threads to those of the first, in order: the result is deterministic.
  Arena reduce() const {
    for (int t = 1; t < threads_; t++)
      for (long i = 0; i < size_; i++) buffer_.get()[i] += buffer_.get()[t * size_ + i];
    return thread(0);
  }

 private:
  long size_;
  int threads_;
  Buffer buffer_;
};

// Sums over the pixels of each image that is processed at a time.
class ImageSums {
 public:
  ImageSums(const Shape& shape, int threads, long count)
      : count_(count), together_(work_together(shape.batch, threads)),
        sums_(new double[count * (together_ ? 1 : threads)]) {}

  double* image(int thread) const { return sums_.get() + (together_ ? 0 : count_ * thread); }

 private:
  long count_;
  bool together_;
  std::unique_ptr<double[]> sums_;
};

}  // namespace

EXPORT int lamnet_bf16_available() { return bf16_available(); }

// Floats of the maps of a pass: per pixel, and per image.
struct MapSizes {
  int32_t per_pixel, per_image;
};

// A forward pass that is followed by a backward pass needs maps for each image of the batch, others for each image that
// is processed at a time.
enum Pass { kInference, kForward, kBackward };

EXPORT void lamnet_focal_pass_maps(const FocalPassConfig*, int, MapSizes* sizes) { *sizes = {}; }

EXPORT void lamnet_mixer_maps(const MixerConfig* config, int pass, MapSizes* sizes) {
  const int pitch = HeadLayout(config->dim / 2, config->heads).pitch;
  const int per_pixel = MixerMaps::floats_per_pixel(pitch, config->reduced, pass == kForward);
  if (pass == kBackward) *sizes = {MixerGradientMaps::floats_per_pixel(pitch), 0};
  else *sizes = {per_pixel, MixerMaps::floats_per_image(pitch)};
}

EXPORT void lamnet_feed_forward_maps(const FeedForwardConfig*, int, MapSizes* sizes) { *sizes = {}; }

EXPORT void lamnet_focal_pass_forward(const FocalPassConfig* config, const Shape* shape, const Tensor* x,
                                      const Tensor* out, const float* const* parameters, float*, int64_t, int,
                                      int threads) {
  const Owned<PassParameters> owned(*config, parameters, false);
  const FocalPass pass(owned.weights, *shape, config->vertical);
  const long size = measure([&](Arena& arena) { FocalPass::Memory(pass, false, arena); });
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int) {
    const Scratch scratch(size);
    Arena arena(scratch.get());
    pass.forward(team, x->image(b), out->image(b), FocalPass::Memory(pass, false, arena));
  });
}

EXPORT void lamnet_focal_pass_backward(const FocalPassConfig* config, const Shape* shape, const Tensor* x,
                                       const Tensor* grad_out, const Tensor* grad_x, const float* const* parameters,
                                       float*, int64_t, float*, int64_t, float* const* gradients, int threads) {
  const Owned<PassParameters> owned(*config, parameters, true);
  const PassWeights& w = owned.weights;
  const FocalPass pass(w, *shape, config->vertical);
  GradientSums sums(measure([&](Arena& arena) { PassGradients().take(w, arena); }), threads);
  const long size = measure([&](Arena& arena) { FocalPass::Memory(pass, true, arena); });
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(size);
    Arena arena(scratch.get()), own = sums.thread(thread);
    PassGradients gradient;
    gradient.take(w, own);
    pass.backward(team, x->image(b), grad_out->image(b), grad_x->image(b), gradient,
                  FocalPass::Memory(pass, true, arena));
  });
  Arena total = sums.reduce();
  PassGradients gradient;
  gradient.take(w, total);
  gradient.store(gradients, w);
}

EXPORT void lamnet_mixer_forward(const MixerConfig* config, const Shape* shape, const Tensor* x, const Tensor* out,
                                 const float* const* parameters, float* data, int64_t image_size, int save,
                                 int threads) {
  const Owned<MixerWeights> owned(*config, parameters, false);
  const MixerWeights& w = owned.weights;
  const MixerForward mixer(w, *shape, save);
  const Maps maps(*shape, threads, data, image_size, save);
  const ImageSums sums(*shape, threads, mixer.blocks() * mixer.sums_per_block());
  const long size = measure([&](Arena& arena) { MixerForward::Memory(mixer, arena); });
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(size);
    const MixerMaps image(w, maps.image(b, thread), shape->height * shape->width);
    Arena arena(scratch.get());
    mixer.run(team, x->image(b), out->image(b), image, sums.image(thread), MixerForward::Memory(mixer, arena));
  });
}

EXPORT void lamnet_mixer_backward(const MixerConfig* config, const Shape* shape, const Tensor* x,
                                  const Tensor* grad_out, const Tensor* grad_x, const float* const* parameters,
                                  float* saved, int64_t saved_size, float* working, int64_t working_size,
                                  float* const* gradients, int threads) {
  const Owned<MixerWeights> owned(*config, parameters, true);
  const MixerWeights& w = owned.weights;
  const MixerBackward mixer(w, *shape);
  GradientSums sums(measure([&](Arena& arena) { MixerGradients(w, arena); }), threads);
  const Maps maps(*shape, threads, saved, saved_size, true), grads(*shape, threads, working, working_size, false);
  const ImageSums totals(*shape, threads, mixer.sums_per_thread() * threads);
  const long size = measure([&](Arena& arena) { MixerBackward::Memory(mixer, arena); });
  const long pixels = shape->height * shape->width;
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(size);
    Arena arena(scratch.get()), own = sums.thread(thread);
    MixerGradients gradient(w, own);
    mixer.run(team, x->image(b), grad_out->image(b), grad_x->image(b), MixerMaps(w, maps.image(b, thread), pixels),
              MixerGradientMaps(w, grads.image(b, thread), pixels), gradient, totals.image(thread),
              MixerBackward::Memory(mixer, arena));
  });
  Arena total = sums.reduce();
  MixerGradients(w, total).store(w, parameters, gradients);
}

EXPORT void lamnet_feed_forward_forward(const FeedForwardConfig* config, const Shape* shape, const Tensor* x,
                                        const Tensor* out, const float* const* parameters, float*, int64_t, int,
                                        int threads) {
  const Owned<FeedForwardWeights> owned(*config, parameters, false);
  const FeedForwardForward layer(owned.weights, *shape);
  const long size = measure([&](Arena& arena) { FeedForwardForward::Memory(layer, arena); });
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int) {
    const Scratch scratch(size);
    Arena arena(scratch.get());
    layer.run(team, x->image(b), out->image(b), FeedForwardForward::Memory(layer, arena));
  });
}

EXPORT void lamnet_feed_forward_backward(const FeedForwardConfig* config, const Shape* shape, const Tensor* x,
                                         const Tensor* grad_out, const Tensor* grad_x, const float* const* parameters,
                                         float*, int64_t, float*, int64_t, float* const* gradients, int threads) {
  const Owned<FeedForwardWeights> owned(*config, parameters, true);
  const FeedForwardWeights& w = owned.weights;
  const FeedForwardBackward layer(w, *shape);
  GradientSums sums(measure([&](Arena& arena) { FeedForwardGradients(w, arena); }), threads);
  const long size = measure([&](Arena& arena) { FeedForwardBackward::Memory(layer, arena); });
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(size);
    Arena arena(scratch.get()), own = sums.thread(thread);
    FeedForwardGradients gradient(w, own);
    layer.run(team, x->image(b), grad_out->image(b), grad_x->image(b), gradient,
              FeedForwardBackward::Memory(layer, arena));
  });
  Arena total = sums.reduce();
  FeedForwardGradients(w, total).store(w, parameters, gradients);
}
