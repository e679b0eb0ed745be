// Before/after slider: a range input moves the edge between two pictures. Without scripts they are shown side by side.
export function makeSlider(slider) {
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: 100, value: 50, step: 1 });
  input.setAttribute("aria-label", slider.dataset.label);
  const show = () => {
    slider.style.setProperty("--at", `${input.value}%`);
    input.setAttribute("aria-valuetext", `${input.value}% ${slider.dataset.before}`);
  };
  input.addEventListener("input", show);
  slider.append(input);
  slider.classList.add("slider--live");
  show();
}

document.querySelectorAll(".slider").forEach(makeSlider);
