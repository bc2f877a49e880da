"use strict";

/* The page's two tools: tables that sort, and the explorer of samples. Without this script the
   tables are as they are, and the sample grids below the explorer's place show a choice of it. */

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

/* Where the images of the picked class stand on a canvas, or of all classes: [{class, column, x, y}],
   in images. All classes stand in a rectangle, one class in two rows. */
function places(data, picked) {
  const found = [];
  const wide = data.classes.length >= data.columns;
  const across = data.columns > 3 ? Math.ceil(data.columns / 2) : data.columns;
  for (let k = 0; k < data.classes.length; k++) {
    for (let column = 0; column < data.columns; column++) {
      if (picked === null) {
        found.push({ k, column, x: wide ? k : column, y: wide ? column : k });
      } else if (picked === k) {
        found.push({ k, column, x: column % across, y: Math.floor(column / across) });
      }
    }
  }
  return found;
}

/* Draw the images of one sprite at guidance weight number w, each pixel a pixel of the canvas. */
function draw(canvas, sprite, data, w, picked) {
  const { width, height } = data;
  const shown = places(data, picked);
  const gap = Math.max(1, Math.round(width / 16));
  canvas.width = (Math.max(...shown.map((p) => p.x)) + 1) * (width + gap) - gap;
  canvas.height = (Math.max(...shown.map((p) => p.y)) + 1) * (height + gap) - gap;
  const context = canvas.getContext("2d");
  for (const { k, column, x, y } of shown) {
    const top = (w * data.classes.length + k) * height;
    context.drawImage(
      sprite, column * width, top, width, height,
      x * (width + gap), y * (height + gap), width, height,
    );
  }
}

/* Let the sliders and the class picker choose what the panels and the figures show. */
function startExplorer(root) {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const [steps, w] = ["explorer-steps", "explorer-w"].map((id) => document.getElementById(id));
  const picker = document.getElementById("explorer-class");
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
    const image = await sprite(panel.sprites[n]);
    if (choice === latest) draw(canvas, image, data, choice.w, choice.picked);
  }

  /* The first two figures of student and teacher, for a reader who hears the page. */
  function say(choice) {
    const said = data.panels.slice(0, 2).map((panel) => {
      const n = count(panel, choice);
      const [first, second] = panel.figures[n][choice.w];
      return `${panel.titles[n]}: ${data.figures[0]} ${first}, ${data.figures[1]} ${second}`;
    });
    root.querySelector("[role=status]").textContent = `${said.join("; ")}.`;
  }

  let latest = null;
  function show() {
    const picked = picker && picker.value !== "all" ? Number(picker.value) : null;
    latest = { steps: Number(steps.value), w: Number(w.value), picked };
    label(steps, data.steps[latest.steps]);
    label(w, data.w[latest.w]);
    say(latest);
    for (const panel of data.panels) showPanel(panel, latest);
  }

  for (const input of [steps, w]) input.addEventListener("input", show);
  if (picker) picker.addEventListener("change", show);
  root.hidden = false;
  show();
}

for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
for (const root of document.querySelectorAll(".explorer")) startExplorer(root);
