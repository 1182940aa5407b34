// Draws the page from the JSON block: a section a task, then tier maps, then how it was made.
// Everything that came from outside (names, prompts, commands) is written as text, never as markup.
'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const state = document.documentElement.dataset;
const drawings = [];  // what must be drawn again when colours change

window.addEventListener('error', event => {
  state.error = event.message;
  notice('This page could not be drawn in full: ' + event.message);
});

// el('p', {class: 'muted'}, 'text', node, ...)
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function notice(text) {
  document.getElementById('notices').append(el('p', {class: 'notice', role: 'status'}, text));
}

const color = name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();

// --- figures -------------------------------------------------------------------------------------

function number(x, digits = 4) {
  if (x === null || x === undefined) return '-';
  if (Number.isInteger(x)) return x.toLocaleString('en');
  const size = Math.abs(x);
  if (size >= 1000) return Math.round(x).toLocaleString('en');
  return size > 0 && size < 0.001 ? x.toExponential(1) : x.toPrecision(digits).replace(/^(-?\d+\.\d{4})\d+$/, '$1');
}

const percent = x => Math.round(100 * x) + ' %';
const count = (n, what) => `${number(n)} ${what}${n === 1 ? '' : 's'}`;

// A row's first metric is the one that plans are compared by.
const metricName = row => Object.keys(row.metrics)[0];
const metric = row => row.metrics[metricName(row)];
const interval = row => 'low' in row.metrics ? [row.metrics.low, row.metrics.high] : null;
// Shares of right answers have three decimals, other figures four digits.
const metricText = (name, x) => isAccuracy(name) && x !== null && x <= 1 ? x.toFixed(3) : number(x);
const rangeText = row => ` [${interval(row).map(x => metricText(metricName(row), x)).join(', ')}]`;
const isAccuracy = name => /accuracy|agreement|match|f1|rouge|recall|score/.test(name);

// What a plan does, from what its cache held: tokens that can no longer be read, or one layout for
// (nearly) all of them, or several.
function family(row) {
  const {cache} = row;
  if (cache.readable_tokens < cache.tokens) return 'eviction';
  const held = cache.tiers.map(tier => tier.tokens);
  const largest = Math.max(...held), all = held.reduce((a, b) => a + b, 0);
  if (largest < 0.9 * all) return 'mixed';
  return cache.tiers[held.indexOf(largest)].keys === 'f16' ? 'reference' : 'uniform';
}
const families = {
  reference: 'exact (f16)', mixed: 'mixed precision, every token kept',
  uniform: '90 % and more at one precision, every token kept', eviction: 'eviction',
};

function groupBy(rows, key) {
  const groups = new Map();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) || []), row]);
  return groups;
}

// --- tables --------------------------------------------------------------------------------------

// Cells are texts or nodes; the first of a row is its header.
function table(caption, titles, rows, attributes = {}) {
  const head = el('tr', {}, ...titles.map(title => el('th', {scope: 'col'}, title)));
  const body = rows.map(cells => el('tr', {}, ...cells.map((cell, i) =>
    i === 0 ? el('th', {scope: 'row'}, cell) : cell instanceof HTMLTableCellElement ? cell : el('td', {}, cell))));
  return el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption},
    el('table', attributes, el('caption', {}, caption), el('thead', {}, head), el('tbody', {}, ...body)));
}

function details(title, ...content) {
  return el('details', {}, el('summary', {}, title), ...content);
}

function planCell(row) {
  const long = row.preset.length > 16 ? '' : 'short';
  return el('span', {class: long}, el('span', {class: 'family ' + family(row), title: families[family(row)]}), row.preset);
}

function withRange(text, range) {
  return el('td', {}, text, range ? el('span', {class: 'range'}, range) : '');
}

// From the exact cache, with the interval of the paired difference where there is one.
function difference(row, exact) {
  if (!exact || exact === row || metric(row) === null) return '-';
  const by = metric(row) - metric(exact), sign = x => (x < 0 ? '' : '+') + metricText(metricName(row), x);
  const {vs_f16_low: low, vs_f16_high: high} = row.metrics;
  return withRange(sign(by), low === undefined ? '' : ` [${sign(low)}, ${sign(high)}]`);
}

function resultTable(task, rows) {
  const exact = rows.find(row => family(row) === 'reference');
  const name = metricName(rows[0]), tells = rows.every(row => 'answer_in_high' in row.metrics);
  const cells = rows.map(row => {
    return [planCell(row), row.cache.bits_per_value.toFixed(2),
      withRange(metricText(name, metric(row)), interval(row) && rangeText(row)), difference(row, exact),
      row.cache.compression_factor.toFixed(2) + 'x',
      percent(row.cache.readable_tokens / Math.max(1, row.cache.tokens)),
      ...(tells ? [percent(row.metrics.answer_in_high)] : [])];
  });
  return table(`Task ${task}: ${name}, ${isAccuracy(name) ? 'higher' : 'lower'} is better`,
    ['plan', 'bits', name, 'vs f16', 'factor', 'readable', ...(tells ? ['answer in high'] : [])], cells);
}

function fullTable(task, rows) {
  const names = [...new Set(rows.flatMap(row => Object.keys(row.metrics)))];
  const cache = ['bits_per_value', 'bits_per_value_marginal', 'paper_bits_per_value', 'bytes', 'tokens', 'readable_tokens'];
  const protocol = [...new Set(rows.flatMap(row => Object.keys(row.protocol)))];
  return table(`Task ${task}: everything measured`,
    ['plan', ...names, ...cache, ...protocol, 'tokens/s'].map(name => name.replaceAll('_', ' ')),
    rows.map(row => [planCell(row), ...names.map(name => number(row.metrics[name])),
      ...cache.map(name => number(row.cache[name])), ...protocol.map(name => String(row.protocol[name] ?? '-')),
      number(row.tokens_per_second, 3)]));
}

// --- heat maps -----------------------------------------------------------------------------------

// heat is 0 to 1; the figure stays readable on it.
function heatCell(cell, text, heat, kind) {
  const node = el('td', {class: kind + (heat > 0.65 ? ' deep' : ''), title: 'n = ' + cell.n}, text);
  node.style.setProperty('--heat', heat.toFixed(3));
  return node;
}

const inOrder = values => [...new Set(values)].sort((a, b) => a - b);
const cellsOf = (rows, name) => rows.flatMap(row => row.cells || []).filter(cell => name in cell);

// A map a plan: `across` and `down` name the axes of its cells, paint(cell) makes one.
function heatTable(row, caption, [down, downTitle], [across, acrossTitle], paint) {
  const axis = name => inOrder(cellsOf([row], name).map(cell => cell[name]));
  return table(`${row.preset}: ${caption}`, [downTitle, ...axis(across).map(acrossTitle)],
    axis(down).map(y => [number(y), ...axis(across).map(x => {
      const cell = row.cells.find(c => c[down] === y && c[across] === x);
      return cell ? paint(cell) : '-';
    })]), {class: 'heat'});
}

function depthMaps(task, rows) {
  const cells = cellsOf(rows, 'depth');
  if (!cells.length) return [];
  const paint = cell => cell ? heatCell(cell, cell.value.toFixed(2), cell.value, 'good') : '-';
  const depths = inOrder(cells.map(cell => cell.depth)), lengths = inOrder(cells.map(cell => cell.length));
  const maps = lengths.length > 1 ?
    rows.map(row => heatTable(row, 'accuracy by tokens and depth', ['length', 'tokens'], ['depth', percent], paint)) :
    [table(`Task ${task}: accuracy by depth, ${number(lengths[0])} tokens`, ['plan', ...depths.map(percent)],
      rows.map(row => [planCell(row), ...depths.map(depth => paint(row.cells.find(cell => cell.depth === depth)))]), {class: 'heat'})];
  return [el('h3', {}, 'By depth and length'),
    el('p', {class: 'muted'}, `Depth 0 % is the start of the context. ${count(Math.max(...cells.map(c => c.n)), 'question')} a cell at most.`),
    el('div', {class: 'heats'}, ...maps)];
}

const kOpenCells = 64;  // larger maps are closed at first
const kErrorSpan = 100;  // smaller errors than the largest one over this have no colour

function errorMaps(task, rows) {
  const cells = cellsOf(rows, 'kv_head'), values = cells.map(cell => cell.value).filter(v => v > 0);
  if (!values.length) return [];
  const most = Math.max(...values), least = Math.max(Math.min(...values), most / kErrorSpan);
  const heat = v => v < least || most <= least ? 0 : Math.log(v / least) / Math.log(most / least);
  const maps = rows.map(row => heatTable(row, 'error by layer and kv_head', ['layer', 'layer'], ['kv_head', head => 'head ' + head],
    cell => heatCell(cell, number(cell.value, 2), heat(cell.value), 'bad')));
  const large = cells.length > kOpenCells * rows.length;
  return [el('h3', {}, 'By layer and head'), layerChart(task, rows),
    el('p', {class: 'muted'}, `One logarithmic colour scale for all plans, down to 1/${kErrorSpan} of the largest error.`),
    el('div', {class: 'heats'}, ...maps.map((map, i) => large ? details(rows[i].preset, map) : map))];
}

// --- sections ------------------------------------------------------------------------------------

function section(id, title, ...content) {
  document.getElementById('contents').append(el('a', {href: '#' + id}, title));
  return el('section', {id}, el('h2', {}, title), ...content);
}

function taskSection(task, rows) {
  const summary = data.tasks[task] ? data.tasks[task] + '. ' : '';
  const ranges = rows.some(interval) ? 'Bars and brackets are 95 % intervals.' : '';
  return section('task-' + task, task,
    el('p', {class: 'muted'}, summary + ranges),
    paretoChart(task, rows), resultTable(task, rows),
    details('Everything measured', fullTable(task, rows)),
    ...depthMaps(task, rows), ...errorMaps(task, rows));
}

function factTable(caption, facts) {
  return table(caption, ['', ''], facts.map(([name, value]) => [name, el('td', {class: 'text'}, value)]), {class: 'facts'});
}

// What --at-bytes made of the plans that were asked for.
function fittedPlans() {
  const fitted = data.eval.at_bytes;
  if (!fitted) return [];
  return [el('h3', {}, 'Equal bytes'), table(`Plans fitted to ${fitted.asked}: ${number(fitted.bytes)} bytes at ${number(fitted.tokens)} tokens`,
    ['plan', 'asked for', 'bytes', 'deviation'],
    fitted.plans.map(row => [row.preset, el('td', {class: 'text'}, row.asked), number(row.bytes), (100 * row.deviation).toFixed(1) + ' %']))];
}

function runSection() {
  const {model, machine, command} = data.eval;
  const plans = [...groupBy(data.eval.results, row => row.preset).values()].map(rows => [rows[0].preset, rows[0].plan]);
  const flat = object => Object.entries(object).map(([name, value]) =>
    [name.replaceAll('_', ' '), typeof value === 'number' ? number(value) : String(value)]);
  return section('run', 'How it was made',
    el('h3', {}, 'Command'), el('pre', {}, command),
    ...fittedPlans(), el('h3', {}, 'Model and machine'),
    el('div', {class: 'heats'}, factTable('Model', flat(model)), factTable('Machine', flat(machine))),
    el('h3', {}, 'Plans in full'), factTable('Plans', plans),
    el('p', {class: 'muted'}, 'Bits count everything that is resident: codes, scales, positions, scores, exact rows, ' +
      'slack, tables. All plans read the same windows and samples.'));
}

function header() {
  const {model, machine} = data.eval;
  const name = model.name || model.path;
  document.title = `kvkeep eval: ${name}`;
  document.getElementById('title').textContent = `${name}: what cache plans cost in quality`;
  document.getElementById('facts').textContent = `${data.date}. ${number(model.parameters)} parameters, ${model.layers} layers, ` +
    `${model.kv_heads} kv_heads of ${model.head_dim}. ${machine.cpu}, ${machine.isa}, ${count(machine.threads, 'thread')}.`;
  document.getElementById('made').textContent = `Made by kvkeep ${data.version}.`;
  document.getElementById('licence').hidden = !charts;
  if (data.eval.interrupted) notice('The run was stopped: the figures are of what was complete for every plan.');
  if (!charts) notice('This build of kvkeep had no chart library: the tables hold the same figures.');
}

function main() {
  header();
  const main = document.getElementById('main');
  const tasks = groupBy(data.eval.results, row => row.task);
  if (!tasks.size) notice('There are no results: the run was stopped before the first was complete.');
  for (const [task, rows] of tasks) main.append(taskSection(task, rows));
  main.append(tierSection(), runSection());
  for (const drawing of drawings) drawing();
  state.state = 'done';
}
