// Upscales a picture of the visitor in the browser. Models and runtime are loaded when a picture is chosen.
import { makeSlider } from "./slider.mjs";

const ASSETS = new URL("demo/", import.meta.url);
const MAX_OUTPUT = 40e6; // pixels; browsers limit the size of canvases
const SAMPLES = ["coffee", "cat"];
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

const root = document.querySelector(".demo");
const problem = missingFeature();
if (problem) root.querySelector("p").textContent = problem;
else build();

function missingFeature() {
  if (!window.Worker || !window.createImageBitmap) return "The demo requires a current browser.";
  if (!window.WebAssembly || !WebAssembly.validate(new Uint8Array(SIMD)))
    return "The demo requires WebAssembly with SIMD, which this browser lacks.";
  return "";
}

function build() {
  root.innerHTML = `
    <form class="demo__form">
      <label class="demo__drop">
        <input type="file" accept="image/*">
        <span><b>Choose a picture</b>, drop it here, or paste it</span>
      </label>
      <div class="demo__options">
        <fieldset><legend>Scale</legend>
          <label><input type="radio" name="scale" value="2" checked> ×2</label>
          <label><input type="radio" name="scale" value="4"> ×4</label>
        </fieldset>
        <fieldset><legend>Weights</legend>
          <label><input type="radio" name="weights" value="clean" checked> clean</label>
          <label><input type="radio" name="weights" value="photo"> photo, for JPEG artifacts and noise</label>
        </fieldset>
        <span>Samples: ${SAMPLES.map((name) => `<button type="button" data-sample="${name}">${name}</button>`).join(" ")}</span>
      </div>
    </form>
    <p class="demo__status" role="status">The picture stays on this device: it is upscaled in the browser and not sent anywhere.</p>
    <progress hidden aria-label="Progress"></progress>
    <p class="demo__actions" hidden>
      <button type="button" class="md-button demo__cancel">Cancel</button>
      <a class="md-button md-button--primary demo__download" hidden>Download PNG</a>
    </p>
    <div class="demo__result"></div>`;
  const find = (selector) => root.querySelector(selector);
  const file = find("input[type=file]"), drop = find(".demo__drop");
  let worker = null, picture = null, runs = 0;

  const say = (text) => (find(".demo__status").textContent = text);
  const start = (source, name) => {
    picture = { source, name };
    run();
  };
  file.addEventListener("change", () => file.files[0] && start(file.files[0], file.files[0].name));
  root.querySelectorAll("[type=radio]").forEach((input) => input.addEventListener("change", () => picture && run()));
  root.querySelectorAll("[data-sample]").forEach((button) =>
    button.addEventListener("click", async () => {
      const name = button.dataset.sample;
      const reply = await fetch(new URL(`${name}.png`, ASSETS)).catch(() => null);
      if (!reply?.ok) return say(NOT_BUILT);
      start(await reply.blob(), `${name}.png`);
    }),
  );
  for (const type of ["dragenter", "dragover", "dragleave", "drop"])
    drop.addEventListener(type, (event) => {
      event.preventDefault();
      drop.classList.toggle("demo__drop--over", type === "dragenter" || type === "dragover");
      const dropped = event.dataTransfer?.files[0];
      if (type === "drop" && dropped) start(dropped, dropped.name);
    });
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])].find((item) => item.type.startsWith("image/"));
    if (pasted) start(pasted, "pasted.png");
  });
  find(".demo__cancel").addEventListener("click", () => stop("Canceled."));

  function stop(text) {
    worker?.terminate();
    worker = null;
    find("progress").hidden = true;
    find(".demo__cancel").hidden = true;
    say(text);
  }

  async function run() {
    stop("Reading the picture …");
    const number = ++runs;
    const { source, name } = picture;
    const scale = Number(find("[name=scale]:checked").value), weights = find("[name=weights]:checked").value;
    const options = { imageOrientation: "from-image", premultiplyAlpha: "none" };
    const bitmap = await createImageBitmap(source, options).catch(() => null);
    if (number !== runs) return; // another picture or option was chosen meanwhile
    if (!bitmap) return say(`${name} is not an image that this browser can read.`);
    const { width, height } = bitmap;
    if (width * height * scale ** 2 > MAX_OUTPUT) {
      const limit = (MAX_OUTPUT / scale ** 2 / 1e6).toFixed(1);
      return say(`${name} has ${width}×${height} pixels; ×${scale} in the browser is limited to ${limit} megapixels. Use lamnet upscale.`);
    }
    const small = draw(bitmap, width, height);
    const pixels = small.getContext("2d").getImageData(0, 0, width, height).data;
    const before = draw(small, width * scale, height * scale), after = draw(before, width * scale, height * scale);
    find(".demo__result").replaceChildren(slider(before, after));
    find("progress").removeAttribute("value"); // indeterminate
    find(".demo__result").removeAttribute("data-done");
    for (const selector of ["progress", ".demo__actions", ".demo__cancel"]) find(selector).hidden = false;
    find(".demo__download").hidden = true;
    say("Loading the model …");

    const current = (worker = new Worker(new URL("demo-worker.mjs", import.meta.url), { type: "module" }));
    const fail = (text) => current === worker && stop(text);
    current.onerror = () => fail("The demo failed to start in this browser.");
    current.onmessage = ({ data }) => {
      if (current !== worker) return;
      if (data.error) return fail(data.missing ? NOT_BUILT : `Failed: ${data.error}`);
      const { tile, x, y, done, total, seconds, runtime } = data;
      Object.assign(find("progress"), { max: total, value: done });
      if (!done) return say(`${runtime}: upscaling ${total} tiles …`);
      after.getContext("2d").putImageData(tile, x, y);
      if (done < total) return say(`${runtime}: ${Math.round((100 * done) / total)}%, about ${duration((seconds * (total - done)) / done)} left`);
      find(".demo__result").dataset.done = scale;
      const link = find(".demo__download");
      after.toBlob((blob) => {
        link.href = URL.createObjectURL(blob);
        link.download = name.replace(/\.[^.]*$/, "") + `_x${scale}.png`;
        link.hidden = false;
      });
      stop(`${width}×${height} → ${width * scale}×${height * scale} in ${duration(seconds)} (${runtime})`);
    };
    current.postMessage({ pixels, width, height, scale, weights, assets: ASSETS.href });
  }
}

function draw(source, width, height) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return canvas;
}

function slider(before, after) {
  const figure = document.createElement("figure");
  figure.className = "slider";
  Object.assign(figure.dataset, { before: "browser", label: "Edge between the browser's interpolation and LAMNet" });
  for (const [canvas, label, extra] of [[before, "browser", ""], [after, "LAMNet", " slider__picture--after"]]) {
    const picture = document.createElement("div"), caption = document.createElement("span");
    picture.className = `slider__picture${extra}`;
    caption.textContent = label;
    picture.append(canvas, caption);
    figure.append(picture);
  }
  makeSlider(figure);
  return figure;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.ceil(seconds / 60)} min`;
}

const NOT_BUILT = "This copy of the site was built without the demo's files: run python docs/_generate/demo.py first.";
