"use strict";
(() => {
  // --- tables: click a header to sort; missing values stay last -------------------------------------------------
  const cellKey = (row, column) => {
    const cell = row.cells[column];
    if ("value" in cell.dataset) {
      const number = parseFloat(cell.dataset.value.replace("inf", "Infinity")); // Python's spelling, then JavaScript's
      return Number.isNaN(number) ? null : number;
    }
    const text = cell.textContent.trim();
    return text === "\u2013" ? null : text;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? (a > b) - (a < b) : String(a).localeCompare(String(b), undefined, { numeric: true });

  for (const header of document.querySelectorAll("table.data thead th")) {
    header.querySelector("button").addEventListener("click", () => {
      const up = header.getAttribute("aria-sort") !== "ascending";
      const body = header.closest("table").tBodies[0];
      const rows = Array.from(body.rows, (row) => [cellKey(row, header.cellIndex), row]);
      rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : up ? compare(a, b) : compare(b, a)));
      body.append(...rows.map(([, row]) => row));
      for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  }

  // --- structures -----------------------------------------------------------------------------------------------
  const scenes = JSON.parse(document.getElementById("scenes").textContent);
  if (!scenes.length) return;
  const stage = document.getElementById("canvas");
  const labelButton = document.getElementById("labels");
  const state = { viewer: null, current: 0, labels: false };
  window.atomflow = state; // for the page's own tests, and for anyone with the console open
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const hasWebGL = () => {
    try {
      const probe = document.createElement("canvas");
      return Boolean(probe.getContext("webgl2") || probe.getContext("webgl"));
    } catch {
      return false;
    }
  };

  const drawCell = (viewer, [a, b, c]) => {
    const corner = (i, j, k) => ({ x: i * a[0] + j * b[0] + k * c[0], y: i * a[1] + j * b[1] + k * c[1], z: i * a[2] + j * b[2] + k * c[2] });
    for (const [p, q] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      for (const [start, end] of [[[0, p, q], [1, p, q]], [[p, 0, q], [p, 1, q]], [[p, q, 0], [p, q, 1]]]) {
        viewer.addLine({ start: corner(...start), end: corner(...end), color: colour("--soft") });
      }
    }
  };

  const drawLabels = (viewer, scene, atoms) => {
    // Hundreds of labels hide what they name: in large structures only the ions keep theirs.
    const named = atoms.length > 250 ? scene.ions : atoms.keys();
    const common = { fontSize: 12, fontColor: colour("--ink"), backgroundColor: colour("--paper"), backgroundOpacity: 0.75, inFront: true, alignment: "center" };
    for (const i of named) viewer.addLabel(atoms[i].elem + (i + 1), { ...common, position: atoms[i] });
    for (const [i, j] of scene.contacts.slice(0, 60)) {
      const middle = { x: (atoms[i].x + atoms[j].x) / 2, y: (atoms[i].y + atoms[j].y) / 2, z: (atoms[i].z + atoms[j].z) / 2 };
      const length = Math.hypot(atoms[i].x - atoms[j].x, atoms[i].y - atoms[j].y, atoms[i].z - atoms[j].z);
      viewer.addLabel(length.toFixed(2) + " \u00c5", { ...common, position: middle });
    }
  };

  const draw = ({ keepCamera = false } = {}) => {
    const { viewer } = state;
    if (!viewer) return;
    const scene = scenes[state.current];
    const camera = keepCamera ? viewer.getView() : null;
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    viewer.setBackgroundColor(colour("--stage"));
    const model = viewer.addModel(scene.xyz, "xyz", { assignBonds: false });
    const atoms = model.selectedAtoms({});
    atoms.forEach((atom, i) => { atom.index = i; }); // 3Dmol numbers atoms only where it also guesses their bonds
    for (const [i, j] of scene.bonds) {
      atoms[i].bonds.push(j);
      atoms[i].bondOrder.push(1);
      atoms[j].bonds.push(i);
      atoms[j].bondOrder.push(1);
    }
    viewer.setStyle({}, { stick: { radius: 0.12, colorscheme: "Jmol" }, sphere: { scale: 0.24, colorscheme: "Jmol" } });
    if (scene.ions.length) viewer.setStyle({ index: scene.ions }, { sphere: { scale: 0.32, colorscheme: "Jmol" } });
    for (const [i, j] of scene.contacts) {
      viewer.addCylinder({ start: atoms[i], end: atoms[j], radius: 0.05, dashed: true, dashLength: 0.16, gapLength: 0.12, fromCap: 1, toCap: 1, color: colour("--soft") });
    }
    if (scene.cell) drawCell(viewer, scene.cell);
    if (state.labels) drawLabels(viewer, scene, atoms);
    if (camera) viewer.setView(camera);
    else {
      viewer.setView([...viewer.getView().slice(0, 4), ...scene.turn]); // x, y, z, depth, quaternion
      viewer.zoomTo();
      viewer.zoom(1.2); // 3Dmol leaves more room around a molecule than a figure should
    }
    viewer.render();
  };

  const select = (index) => {
    state.current = index;
    for (const button of document.querySelectorAll("button.view")) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.view) === index));
    }
    draw();
  };

  const download = () => {
    const { label, xyz } = scenes[state.current];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([xyz], { type: "chemical/x-xyz" }));
    link.download = (label.replace(/[^A-Za-z0-9.+-]+/g, "_").replace(/^[._]+|_+$/g, "") || "structure") + ".xyz";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  for (const button of document.querySelectorAll("button.view")) {
    button.addEventListener("click", () => select(Number(button.dataset.view)));
  }
  document.getElementById("download").addEventListener("click", download);
  document.getElementById("reset").addEventListener("click", () => draw());
  labelButton.addEventListener("click", () => {
    state.labels = !state.labels;
    labelButton.setAttribute("aria-pressed", String(state.labels));
    draw({ keepCamera: true });
  });

  const giveUp = () => {
    stage.hidden = true;
    labelButton.hidden = true;
    document.getElementById("reset").hidden = true;
    document.querySelector(".hint").hidden = true;
    document.getElementById("no-webgl").hidden = false;
  };
  if (!hasWebGL()) {
    giveUp();
    return;
  }
  try {
    state.viewer = $3Dmol.createViewer(stage, { backgroundColor: colour("--stage"), antialias: true });
    draw();
  } catch {
    state.viewer = null;
    giveUp();
    return;
  }
  // A page that scrolls must not be caught by the canvas: the wheel zooms only after a click into it.
  let active = false;
  stage.addEventListener("pointerdown", () => { active = true; });
  stage.addEventListener("pointerleave", () => { active = false; });
  stage.addEventListener("wheel", (event) => { if (!active && !event.ctrlKey) event.stopPropagation(); }, { capture: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw({ keepCamera: true }));
})();
