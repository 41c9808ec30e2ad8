"use strict";

// Value of `read` at a budget: the straight line between the two measured points around it.
function between(points, budget, read) {
  if (budget <= points[0].budget) return read(points[0]);
  for (let k = 1; k < points.length; k += 1) {
    const low = points[k - 1], high = points[k];
    if (budget <= high.budget) {
      const width = high.budget - low.budget;
      const share = width > 0 ? (budget - low.budget) / width : 1;
      return read(low) + share * (read(high) - read(low));
    }
  }
  return read(points[points.length - 1]);
}

// What so much money per person earns, for so many people; amounts are totals.
function outlook(numbers, budget, people) {
  const curve = numbers.curve;
  const total = (read) => people * between(curve, budget, read);
  const known = curve.every((point) => point.against_mix);
  const priced = curve.every((point) => "multiplier" in point);
  return {
    spend: people * budget,
    earns: total((point) => point.value),
    low: total((point) => point.low),
    high: total((point) => point.high),
    more: known ? total((point) => point.against_mix.value) : null,
    moreLow: known ? total((point) => point.against_mix.low) : null,
    moreHigh: known ? total((point) => point.against_mix.high) : null,
    marginal: priced ? between(curve, budget, (point) => point.multiplier) : null,
    shares: numbers.treatments.map((name, j) =>
      between(numbers.mix, budget, (point) => point.shares[j])),
  };
}

// Four digits that say something, of the largest of the numbers that stand together.
function shown(number, largest = number) {
  if (largest === 0 || !Number.isFinite(largest)) return String(number);
  const digits = 3 - Math.floor(Math.log10(Math.abs(largest)));
  const unit = 10 ** Math.max(-digits, 0);
  const text = (unit * Math.round(number / unit)).toLocaleString("en");
  if (digits <= 0) return text;
  const fine = number.toLocaleString("en", { maximumFractionDigits: Math.min(digits, 20) });
  return fine === "-0" ? "0" : fine;
}

function interval(value, low, high) {
  const largest = Math.max(...[value, low, high].map(Math.abs));
  const [middle, from, to] = [value, low, high].map((one) => shown(one, largest));
  return `${middle} [${from}, ${to}]`;
}

function sentences(found) {
  const said = [
    `Spending ${shown(found.spend)} earns ${interval(found.earns, found.low, found.high)}.`,
  ];
  if (found.more !== null) {
    const verdict = found.moreLow > 0 ? "beyond chance"
      : found.moreHigh < 0 ? "so the mix is better there" : "not shown to be beyond chance";
    said.push(
      `Against the best constant mix of treatments: ${found.more > 0 ? "+" : ""}` +
      `${interval(found.more, found.moreLow, found.moreHigh)}, ${verdict} (band over all budgets).`);
  }
  if (found.marginal !== null) {
    said.push(`By the model, one more unit of money earns about ${shown(found.marginal)}.`);
  }
  return said.join(" ");
}

// Names are set as text, never as markup.
function element(page, tag, text, name) {
  const made = page.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function drawShares(page, target, names, shares) {
  target.replaceChildren(...names.map((name, j) => {
    const bar = element(page, "div", undefined, "bar");
    const track = element(page, "span", undefined, "track");
    const filled = element(page, "span");
    filled.style.width = `${100 * shares[j]}%`;
    track.append(filled);
    bar.append(
      element(page, "span", name, "name"), track,
      element(page, "span", `${(100 * shares[j]).toFixed(1)}%`, "share"));
    return bar;
  }));
}

function drawGroups(page, target, names, groups) {
  const line = (tag, cells) => {
    const made = element(page, "tr");
    made.append(...cells.map((cell, k) => element(page, tag, cell, k ? "" : "word")));
    if (tag === "th") for (const cell of made.children) cell.scope = "col";
    return made;
  };
  const table = element(page, "table");
  table.append(line("th", ["group", "people", "cost per head", ...names]));
  table.append(...groups.map((one) => line("td", [
    one.group, `${(100 * one.people).toFixed(1)}%`, shown(one.cost),
    ...one.shares.map((share) => `${(100 * share).toFixed(1)}%`)])));
  const wide = element(page, "div", undefined, "wide");
  wide.append(table);
  target.replaceChildren(wide);
}

function start(page) {
  const numbers = JSON.parse(page.getElementById("numbers").textContent);
  const at = (name) => page.getElementById(name);
  const slider = at("budget");
  if (slider) {
    const low = numbers.curve[0].budget;
    const high = numbers.curve[numbers.curve.length - 1].budget;
    const steps = Number(slider.max);
    let budget = Math.min(Math.max(numbers.start, low), high);
    slider.value = String(high > low ? Math.round(steps * (budget - low) / (high - low)) : 0);
    const draw = () => {
      const people = Math.max(Number(at("people").value) || 0, 0);
      const found = outlook(numbers, budget, people);
      slider.setAttribute("aria-valuetext", `${shown(budget)} per person`);
      at("outlook").textContent = `At ${shown(budget)} per person: ${sentences(found)}`;
      drawShares(page, at("shares"), numbers.treatments, found.shares);
    };
    slider.addEventListener("input", () => {
      budget = low + (high - low) * Number(slider.value) / steps;
      draw();
    });
    at("people").addEventListener("input", draw);
    at("slider").addEventListener("submit", (event) => event.preventDefault());
    draw();
  }
  const column = at("column");
  if (column) {
    const draw = () =>
      drawGroups(page, at("groups"), numbers.treatments, numbers.groups[column.value] || []);
    column.addEventListener("change", draw);
    draw();
  }
}

if (typeof document !== "undefined") start(document);
if (typeof module !== "undefined") module.exports = { between, interval, outlook, sentences, shown, start };
