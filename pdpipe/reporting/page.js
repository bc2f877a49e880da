"use strict";

/* The page's tools: tables that sort, the explorer of samples, and files to take away. Without this
   script the tables are as they are, and the sample grids show a choice of the samples. */

/* The number that a cell begins with, after "w = " where there is one; NaN for words or a dash. */
function number(text) {
  return parseFloat(text.replace(/^w = /, "").replaceAll(",", ""));
}

const MISSING = "–";

/* The order of two cells: by number where `numeric`, else as words; what is missing comes last. */
function compare(a, b, numeric, direction) {
  if (a === MISSING || b === MISSING) return (a === MISSING) - (b === MISSING);
  const order = numeric
    ? number(a) - number(b)
    : a.localeCompare(b, "en", { numeric: true });
  return direction * order;
}

/* Sort the rows of a table by a column; its reference rows stay below. */
function sort(table, column, direction) {
  const body = table.tBodies[0];
  const references = [...body.querySelectorAll("tr.reference")];
  const rows = [...body.rows].filter((row) => !references.includes(row));
  const text = (row) => row.cells[column].textContent.trim();
  const present = rows.map(text).filter((cell) => cell !== MISSING);
  const numeric = present.every((cell) => !Number.isNaN(number(cell)));
  rows.sort((a, b) => compare(text(a), text(b), numeric, direction));
  body.append(...rows, ...references);
}

/* Put a button into every column's heading: the first press sorts upwards, the next turns round. */
function makeSortable(table) {
  const headings = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  headings.forEach((heading, column) => {
    if (!heading.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const upwards = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
      sort(table, column, upwards ? 1 : -1);
    });
  });
}

/* CSS pixels of an image's side, at least; and rows of images in a panel, at most. */
const SMALLEST = 48;
const rows = () => (window.innerWidth < 640 ? 2 : 4);

/* The images that a panel shows: [{k, column}] of class k; one of each class in turn, or of one. */
function chosen(data, picked) {
  const found = [];
  for (let column = 0; column < data.columns; column++) {
    for (let k = 0; k < data.classes.length; k++) {
      if (picked === null || picked === k) found.push({ k, column });
    }
  }
  return found;
}

/* How many images stand side by side in a panel of this width: whole rows of classes if they fit. */
function across(data, width, picked, count) {
  const most = Math.max(1, Math.floor(width / (SMALLEST + 4)));
  if (picked !== null) return Math.min(most, Math.ceil(Math.sqrt(count)));
  const classes = data.classes.length;
  for (let n = Math.min(most, classes); n > most / 2; n--) if (classes % n === 0) return n;
  return Math.min(most, count);
}

/* The pixels of one image of a sprite at guidance weight number w; that of real images has w = 0. */
function pixels(sprite, data, w, { k, column }) {
  const { width, height } = data;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const top = (w * data.classes.length + k) * height;
  context.drawImage(sprite, column * width, top, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/* a - b as an image: grey where they are equal. */
function difference(a, b) {
  const found = new ImageData(a.width, a.height);
  for (let i = 0; i < found.data.length; i++) {
    found.data[i] = i % 4 === 3 ? 255 : Math.round(127.5 + (a.data[i] - b.data[i]) / 2);
  }
  return found;
}

/* Draw images, each pixel a pixel of the canvas, `n` side by side. */
function draw(canvas, images, n) {
  const { width, height } = images[0];
  const gap = Math.max(1, Math.round(width / 16));
  canvas.width = Math.min(n, images.length) * (width + gap) - gap;
  canvas.height = Math.ceil(images.length / n) * (height + gap) - gap;
  const context = canvas.getContext("2d");
  images.forEach((image, i) => {
    context.putImageData(image, (i % n) * (width + gap), Math.floor(i / n) * (height + gap));
  });
}

/* Give the reader a file. */
function save(name, content) {
  const link = document.createElement("a");
  link.download = name;
  link.href = typeof content === "string" ? content : URL.createObjectURL(content);
  link.click();
  if (typeof content !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function fileName(text) {
  return text.toLowerCase().replace(/[^a-z0-9.]+/g, "-").replace(/^-|-$/g, "").slice(0, 60);
}

/* A row of buttons: [[label, what it does]]. */
function buttons(actions, what) {
  const row = document.createElement("p");
  row.className = "save";
  for (const [label, action] of actions) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-label", `Save ${what} as ${label}`);
    button.addEventListener("click", action);
    row.append(button);
  }
  return row;
}

/* A table as comma-separated values, as it is sorted now. */
function csv(table) {
  const cell = (one) => `"${one.textContent.trim().replaceAll('"', '""')}"`;
  return [...table.rows].map((row) => [...row.cells].map(cell).join(",")).join("\n");
}

/* A figure's SVG as a file of its own, in the colours that the page shows now. */
function standalone(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const look = getComputedStyle(document.documentElement);
  let text = new XMLSerializer().serializeToString(copy);
  text = text.replaceAll("currentColor", getComputedStyle(document.body).color);
  return text.replace(/var\((--\w+)\)/g, (_, name) => look.getPropertyValue(name).trim());
}

/* The same as a PNG, large enough for print. */
async function picture(svg) {
  const { width, height } = svg.viewBox.baseVal;
  const image = new Image(4 * width, 4 * height);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(svg))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [4 * width, 4 * height];
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/png");
}

/* Let the sliders and the class picker choose what the panels and the figures show. */
function startExplorer(root) {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const [steps, w] = ["explorer-steps", "explorer-w"].map((id) => document.getElementById(id));
  const picker = document.getElementById("explorer-class");
  const subtract = document.getElementById("explorer-difference");
  const dialog = root.querySelector("dialog");
  const sprites = new Map();

  /* The decoded image at an address, made when it is first asked for. */
  function sprite(address) {
    if (!sprites.has(address)) {
      const image = new Image();
      image.src = address;
      sprites.set(address, image.decode().then(() => image));
    }
    return sprites.get(address);
  }

  /* A real image of the same class, where there are any. */
  async function realPixels({ k, column }) {
    const { sprite: address, columns } = data.real;
    return pixels(await sprite(address), data, 0, { k, column: column % columns });
  }

  async function showReal(choice) {
    const canvas = document.querySelector('canvas[data-panel="real"]');
    const figure = canvas.parentElement;
    figure.hidden = data.real.columns === 0;
    if (figure.hidden) return;
    const all = chosen({ ...data, columns: data.real.columns }, choice.picked);
    const side = across(data, figure.clientWidth, null, all.length);
    const images = await Promise.all(all.slice(0, 2 * side).map(realPixels));
    if (choice === latest) draw(canvas, images, side);
    canvas.dataset.across = side;
  }

  function label(slider, text) {
    document.getElementById(`${slider.id}-value`).textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }

  /* Which of a panel's step counts is shown; the teacher at its full count has but one. */
  function count(panel, choice) {
    return Math.min(choice.steps, panel.sprites.length - 1);
  }

  async function showPanel(panel, choice) {
    const n = count(panel, choice);
    const canvas = root.querySelector(`canvas[data-panel="${panel.name}"]`);
    const which = choice.picked === null ? "all classes" : `class ${data.classes[choice.picked]}`;
    for (const title of root.querySelectorAll(`[data-title="${panel.name}"]`)) {
      title.textContent = panel.titles[n];
    }
    root.querySelectorAll(`[data-figure="${panel.name}"]`).forEach((cell, row) => {
      cell.textContent = panel.figures[n][choice.w][row];
    });
    canvas.setAttribute("aria-label", `${panel.titles[n]}, ${data.w[choice.w]}: samples of ${which}`);
    const full = data.panels[data.panels.length - 1];
    const [image, other] = await Promise.all([sprite(panel.sprites[n]), sprite(full.sprites[0])]);
    if (choice !== latest) return;
    const all = chosen(data, choice.picked);
    const side = across(data, canvas.parentElement.clientWidth, choice.picked, all.length);
    shown = all.slice(0, side * rows());
    const images = shown.map((place) => {
      const own = pixels(image, data, choice.w, place);
      const subtracted = choice.subtract && panel !== full;
      return subtracted ? difference(own, pixels(other, data, choice.w, place)) : own;
    });
    draw(canvas, images, side);
    canvas.dataset.across = side;
  }

  /* One image, large, as each model makes it of the same noise. */
  async function enlarge(index, choice) {
    const place = shown[index];
    const full = data.panels[data.panels.length - 1];
    const teacher = pixels(await sprite(full.sprites[0]), data, choice.w, place);
    const inside = dialog.querySelector(".large");
    inside.replaceChildren();
    const add = (title, image) => {
      const figure = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const canvas = document.createElement("canvas");
      caption.textContent = title;
      draw(canvas, [image], 1);
      figure.append(caption, canvas);
      inside.append(figure);
    };
    for (const panel of data.panels) {
      const n = count(panel, choice);
      const image = pixels(await sprite(panel.sprites[n]), data, choice.w, place);
      add(panel.titles[n], image);
      if (panel.name === "student") add("Student minus teacher at full steps", difference(image, teacher));
    }
    if (data.real.columns) add("Real, held out", await realPixels(place));
    const named = data.classes.length > 1 ? `class ${data.classes[place.k]}, ` : "";
    dialog.querySelector(".name").textContent = `${named}sample ${place.column + 1}, ${data.w[choice.w]}`;
    if (!dialog.open) dialog.showModal();
  }

  let shown = [];
  let open = 0;
  for (const canvas of root.querySelectorAll("canvas[data-panel]")) {
    canvas.addEventListener("click", (event) => {
      const n = Number(canvas.dataset.across);
      const down = Math.ceil(shown.length / n);
      const x = Math.floor((event.offsetX / canvas.clientWidth) * Math.min(n, shown.length));
      open = Math.min(shown.length - 1, Math.floor((event.offsetY / canvas.clientHeight) * down) * n + x);
      enlarge(open, latest);
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      enlarge((open = 0), latest);
    });
  }
  const go = (step) => enlarge((open = (open + step + shown.length) % shown.length), latest);
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) go(step);
  });
  for (const button of dialog.querySelectorAll("button[value]")) {
    button.addEventListener("click", () => go(Number(button.value)));
  }

  /* The first two figures of student and teacher, for a reader who hears the page. */
  function say(choice) {
    const said = data.panels.slice(0, 2).map((panel) => {
      const n = count(panel, choice);
      const [first, second] = panel.figures[n][choice.w];
      const [nfe, quality] = data.figures.map((name) => name.replace(/ [↓↑]$/, ""));
      return `${panel.titles[n]}: ${nfe} ${first}, ${quality} ${second}`;
    });
    root.querySelector("[role=status]").textContent = `${said.join("; ")}.`;
  }

  /* The choice as the end of an address, and back: `#N=4&w=1&class=3&difference=1`. */
  function remember(choice) {
    const state = new URLSearchParams({ N: parseInt(data.steps[choice.steps]), w: data.w[choice.w].slice(4) });
    if (choice.picked !== null) state.set("class", data.classes[choice.picked]);
    if (choice.subtract) state.set("difference", "1");
    history.replaceState(null, "", `#${state}`);
  }
  /* What of the address can be had here; whether it says anything of the choice. */
  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    if (!state.has("N") && !state.has("w")) return false;
    const n = data.steps.findIndex((text) => parseInt(text) === Number(state.get("N")));
    if (n >= 0) steps.value = n;
    const weight = data.w.indexOf(`w = ${state.get("w")}`);
    if (weight >= 0) w.value = weight;
    const known = data.classes.indexOf(state.get("class"));
    if (picker) picker.value = known < 0 ? "all" : String(known);
    subtract.checked = state.get("difference") === "1";
    return true;
  }

  let latest = null;
  function show() {
    const picked = picker && picker.value !== "all" ? Number(picker.value) : null;
    latest = { steps: Number(steps.value), w: Number(w.value), picked, subtract: subtract.checked };
    label(steps, data.steps[latest.steps]);
    label(w, data.w[latest.w]);
    say(latest);
    for (const curve of document.querySelectorAll(".curve")) {
      curve.hidden = curve.dataset.w !== data.w[latest.w];
    }
    for (const panel of data.panels) showPanel(panel, latest);
    showReal(latest);
  }
  function change() {
    show();
    remember(latest);
  }

  for (const input of [steps, w]) input.addEventListener("input", change);
  for (const input of [picker, subtract]) if (input) input.addEventListener("change", change);
  window.addEventListener("hashchange", () => recall() && change());
  let width = 0;
  new ResizeObserver(() => {
    if (root.clientWidth !== width) show();
    width = root.clientWidth;
  }).observe(root);
  root.hidden = false;
  (recall() ? change : show)();
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const root of document.querySelectorAll(".explorer")) startExplorer(root);
for (const table of document.querySelectorAll(".scroll > table:not(.samples):not(.shown)")) {
  const name = table.caption.textContent.trim();
  const file = () => save(`${fileName(name)}.csv`, new Blob([csv(table)], { type: "text/csv" }));
  table.parentElement.after(buttons([["CSV", file]], name));
}
for (const svg of document.querySelectorAll("figure svg")) {
  const name = svg.closest("figure").dataset.name;
  const drawing = () => save(`${name}.svg`, new Blob([standalone(svg)], { type: "image/svg+xml" }));
  const bitmap = async () => save(`${name}.png`, await picture(svg));
  svg.closest("figure").append(buttons([["SVG", drawing], ["PNG", bitmap]], "the figure"));
}
/* On paper every section is open. */
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.open = true;
    part.dataset.printed = "";
  }
});
window.addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-printed]")) {
    part.open = false;
    delete part.dataset.printed;
  }
});
