// C interface of the CPU kernels, in float32 or with products in bfloat16. Tensors are (batch, channels, height, width) with column stride 1.
//
// The maps of a forward pass hold what the backward pass needs. Parameters are arrays of pointers in the order of the
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
    prepare({config.radius, config.taps, config.first, config.length}, config.dim, config.heads, config.bf16,
            parameters, arena, backward);
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
  Maps(const Shape& shape, int threads, const Tensor& storage, bool of_each_image)
      : storage_(storage), of_each_image_(of_each_image), together_(work_together(shape.batch, threads)) {
    use_huge_pages(storage.data, storage.batch_stride * (of_each_image ? shape.batch : together_ ? 1 : threads));
  }

  Map map(long image, int thread) const { return storage_.image(of_each_image_ ? image : together_ ? 0 : thread); }

 private:
  const Tensor& storage_;
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
  void reduce() {
    for (int t = 1; t < threads_; t++)
      for (long i = 0; i < size_; i++) buffer_.get()[i] += buffer_.get()[t * size_ + i];
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

EXPORT int lamnet_lanes() { return kLanes; }

EXPORT int lamnet_bf16_available() { return bf16_available(); }

// Channels and border of the maps of a pass: (images, height + 1, channels, width rounded up to vectors, plus the border).
// There is one for each image of the batch in a forward pass that is followed by a backward pass; else, one for each image
// that is processed at a time.
enum Pass { kInference, kForward, kBackward };

EXPORT int lamnet_focal_pass_maps(const FocalPassConfig* config, int pass, int* border) {
  *border = 0;
  if (pass == kBackward) return FocalPassGradientMaps::channels(config->dim);
  return FocalPassMaps::channels(config->dim, config->heads * config->taps, pass == kForward);
}

EXPORT int lamnet_mixer_maps(const MixerConfig* config, int pass, int* border) {
  *border = 0;
  if (pass == kBackward) return MixerGradientMaps::channels(config->dim);
  return MixerMaps::channels(config->dim / 2, config->reduced, config->heads * config->taps, pass == kForward);
}

EXPORT int lamnet_feed_forward_maps(const FeedForwardConfig* config, int pass, int* border) {
  *border = FeedForwardMaps::kBorder;
  return pass == kBackward ? FeedForwardMaps::channels(config->hidden) : 0;
}

EXPORT void lamnet_focal_pass_forward(const FocalPassConfig* config, const Shape* shape, const Tensor* x,
                                      const Tensor* out, const float* const* parameters, const Tensor* storage,
                                      int save, int threads) {
  const Owned<PassParameters> owned(*config, parameters, false);
  const PassWeights& w = owned.weights;
  const FocalPass pass(w, *shape, config->vertical);
  const Maps maps(*shape, threads, *storage, save);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(pass.scratch());
    pass.forward(team, x->image(b), out->image(b), FocalPassMaps(w, maps.map(b, thread)), save, scratch.get());
  });
}

EXPORT void lamnet_focal_pass_backward(const FocalPassConfig* config, const Shape* shape, const Tensor* grad_out,
                                       const Tensor* grad_x, const float* const* parameters, const Tensor* saved,
                                       const Tensor* working, float* const* gradients, int threads) {
  const Owned<PassParameters> owned(*config, parameters, true);
  const PassWeights& w = owned.weights;
  const FocalPass pass(w, *shape, config->vertical);
  GradientSums sums(measure([&](Arena& arena) { PassGradients().take(w, arena); }), threads);
  const Maps maps(*shape, threads, *working, false);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(pass.scratch());
    PassGradients gradient;
    gradient.take(w, sums.thread(thread));
    pass.backward(team, grad_out->image(b), grad_x->image(b), FocalPassMaps(w, saved->image(b)),
                  FocalPassGradientMaps(w, maps.map(b, thread)), gradient, scratch.get());
  });
  sums.reduce();
  PassGradients gradient;
  gradient.take(w, sums.thread(0));
  gradient.store(gradients, w);
}

EXPORT void lamnet_mixer_forward(const MixerConfig* config, const Shape* shape, const Tensor* x, const Tensor* out,
                                 const float* const* parameters, const Tensor* storage, int save, int threads) {
  const Owned<MixerWeights> owned(*config, parameters, false);
  const MixerWeights& w = owned.weights;
  const MixerForward mixer(w, *shape, save);
  const Maps maps(*shape, threads, *storage, save);
  const ImageSums sums(*shape, threads, mixer.bands() * w.dim);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(mixer.scratch());
    const MixerMaps image(w, maps.map(b, thread), shape->height);
    mixer.run(team, x->image(b), out->image(b), image, scratch.get(), sums.image(thread));
  });
}

EXPORT void lamnet_mixer_backward(const MixerConfig* config, const Shape* shape, const Tensor* x,
                                  const Tensor* grad_out, const Tensor* grad_x, const float* const* parameters,
                                  const Tensor* saved, const Tensor* working, float* const* gradients, int threads) {
  const Owned<MixerWeights> owned(*config, parameters, true);
  const MixerWeights& w = owned.weights;
  const MixerBackward mixer(w, *shape);
  GradientSums sums(measure([&](Arena& arena) { MixerGradients(w, arena); }), threads);
  const Maps maps(*shape, threads, *working, false);
  const ImageSums totals(*shape, threads, long(w.dim) * threads);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(mixer.scratch());
    MixerGradients gradient(w, sums.thread(thread));
    mixer.run(team, x->image(b), grad_out->image(b), grad_x->image(b), MixerMaps(w, saved->image(b), shape->height),
              MixerGradientMaps(w, maps.map(b, thread)), gradient, scratch.get(), totals.image(thread));
  });
  sums.reduce();
  MixerGradients(w, sums.thread(0)).store(w, parameters, gradients);
}

EXPORT void lamnet_feed_forward_forward(const FeedForwardConfig* config, const Shape* shape, const Tensor* x,
                                        const Tensor* out, const float* const* parameters, const Tensor*, int,
                                        int threads) {
  const Owned<FeedForwardWeights> owned(*config, parameters, false);
  const FeedForwardForward feed_forward(owned.weights, *shape);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int) {
    const Scratch scratch(feed_forward.scratch());
    feed_forward.run(team, x->image(b), out->image(b), scratch.get());
  });
}

EXPORT void lamnet_feed_forward_backward(const FeedForwardConfig* config, const Shape* shape, const Tensor* x,
                                         const Tensor* grad_out, const Tensor* grad_x, const float* const* parameters,
                                         const Tensor*, const Tensor* working, float* const* gradients, int threads) {
  const Owned<FeedForwardWeights> owned(*config, parameters, true);
  const FeedForwardWeights& w = owned.weights;
  const FeedForwardBackward feed_forward(w, *shape);
  GradientSums sums(measure([&](Arena& arena) { FeedForwardGradients(w, arena); }), threads);
  const Maps maps(*shape, threads, *working, false);
  for_each_image(shape->batch, threads, config->bf16, [&](const Team& team, long b, int thread) {
    const Scratch scratch(feed_forward.scratch());
    FeedForwardGradients gradient(w, sums.thread(thread));
    feed_forward.run(team, x->image(b), grad_out->image(b), grad_x->image(b),
                     FeedForwardMaps(w, maps.map(b, thread)), gradient, scratch.get());
  });
  sums.reduce();
  FeedForwardGradients(w, sums.thread(0)).store(w, parameters, gradients);
}
