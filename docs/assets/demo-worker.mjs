// Upscales the tiles of a picture with ONNX Runtime and posts each; WebGPU if available, else WebAssembly.
const TILE = 112, PAD = 16; // LR pixels

onmessage = async ({ data }) => {
  try {
    await upscale(data);
  } catch (error) {
    postMessage({ error: String(error.message ?? error), missing: error instanceof MissingError });
  }
};

class MissingError extends Error {}

async function upscale({ pixels, width, height, scale, weights, assets }) {
  const reply = await fetch(`${assets}lamnet_x${scale}.${weights}.onnx`);
  if (!reply.ok) throw new MissingError(reply.statusText);
  const model = new Uint8Array(await reply.arrayBuffer());
  const { ort, session, runtime } = await open(model, assets);
  const tiles = [...split(height)].flatMap((rows) => [...split(width)].map((columns) => ({ rows, columns })));
  postMessage({ done: 0, total: tiles.length, runtime });
  const start = performance.now();
  for (const [index, { rows, columns }] of tiles.entries()) {
    const [h, w] = [rows, columns].map(({ first, end }) => end - first);
    const input = new ort.Tensor("float32", toPlanes(pixels, width, rows, columns), [1, 3, h, w]);
    const { upscaled } = await session.run({ image: input });
    const planes = await upscaled.getData();
    const tile = toImage(planes, pixels, width, scale, rows, columns);
    upscaled.dispose();
    const seconds = (performance.now() - start) / 1000;
    postMessage({ tile, x: columns.start * scale, y: rows.start * scale, done: index + 1, total: tiles.length, seconds, runtime });
  }
}

async function open(model, assets) {
  if (await navigator.gpu?.requestAdapter().catch(() => null)) {
    try {
      return await create(`${assets}ort.webgpu.min.mjs`, model, assets, "webgpu", "WebGPU");
    } catch (error) {
      console.warn(`WebGPU failed, WebAssembly is used: ${error.message}`);
    }
  }
  const threads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const name = threads > 1 ? `WebAssembly, ${threads} threads` : "WebAssembly";
  return create(`${assets}ort.wasm.min.mjs`, model, assets, "wasm", name, threads);
}

async function create(url, model, assets, provider, runtime, threads = 1) {
  const ort = await import(url);
  ort.env.wasm.wasmPaths = assets;
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  await session.run({ image: new ort.Tensor("float32", new Float32Array(192), [1, 3, 8, 8]) }); // fails if it cannot run
  return { ort, session, runtime };
}

// Parts of an axis, [start, end), with context, [first, end).
function* split(size) {
  const count = Math.ceil(size / TILE);
  for (let index = 0; index < count; index++) {
    const start = Math.floor((size * index) / count), stop = Math.floor((size * (index + 1)) / count);
    yield { start, stop, first: Math.max(start - PAD, 0), end: Math.min(stop + PAD, size) };
  }
}

function toPlanes(pixels, width, rows, columns) {
  const h = rows.end - rows.first, w = columns.end - columns.first, planes = new Float32Array(3 * h * w);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const from = 4 * ((rows.first + y) * width + columns.first + x);
      for (let c = 0; c < 3; c++) planes[(c * h + y) * w + x] = pixels[from + c] / 255;
    }
  return planes;
}

// The part of the output without context, rounded; alpha is repeated.
function toImage(planes, pixels, width, scale, rows, columns) {
  const h = (rows.end - rows.first) * scale, w = (columns.end - columns.first) * scale;
  const image = new ImageData((columns.stop - columns.start) * scale, (rows.stop - rows.start) * scale);
  const top = (rows.start - rows.first) * scale, left = (columns.start - columns.first) * scale;
  for (let y = 0; y < image.height; y++)
    for (let x = 0; x < image.width; x++) {
      const to = 4 * (y * image.width + x);
      for (let c = 0; c < 3; c++) image.data[to + c] = Math.round(255 * planes[(c * h + top + y) * w + left + x]); // clamped
      const row = rows.start + Math.floor(y / scale), column = columns.start + Math.floor(x / scale);
      image.data[to + 3] = pixels[4 * (row * width + column) + 3];
    }
  return image;
}
