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

// A row's first metric is the one that plans are compared by.
const metricName = row => Object.keys(row.metrics)[0];
const metric = row => row.metrics[metricName(row)];
const interval = row => 'low' in row.metrics ? [row.metrics.low, row.metrics.high] : null;
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
  uniform: 'one precision, every token kept', eviction: 'eviction',
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
  return el('span', {}, el('span', {class: 'family ' + family(row), title: families[family(row)]}), row.preset);
}

function resultTable(task, rows) {
  const exact = rows.find(row => family(row) === 'reference');
  const name = metricName(rows[0]);
  const cells = rows.map(row => {
    const range = interval(row);
    return [planCell(row), number(metric(row)) + (range ? ` [${range.map(x => number(x, 3)).join(', ')}]` : ''),
      exact && exact !== row ? (metric(row) >= metric(exact) ? '+' : '') + number(metric(row) - metric(exact), 3) : '-',
      row.cache.bits_per_value.toFixed(2), row.cache.compression_factor.toFixed(2) + 'x',
      percent(row.cache.readable_tokens / Math.max(1, row.cache.tokens))];
  });
  return table(`Task ${task}: ${name}, ${isAccuracy(name) ? 'higher' : 'lower'} is better`,
    ['plan', name + (interval(rows[0]) ? ' [95 %]' : ''), 'vs f16', 'bits', 'factor', 'readable'], cells);
}

function fullTable(task, rows) {
  const isPart = name => /^depth_|^layer_|_head_/.test(name);
  const names = [...new Set(rows.flatMap(row => Object.keys(row.metrics)))].filter(name => !isPart(name));
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
function heatCell(text, heat, kind) {
  const cell = el('td', {class: kind + (heat > 0.55 ? ' deep' : '')}, text);
  cell.style.setProperty('--heat', heat.toFixed(3));
  return cell;
}

// Accuracies by depth, and by length where a task sweeps it: [{depth, length, value}]
function depthCells(row) {
  const cells = [];
  for (const [name, value] of Object.entries(row.metrics)) {
    const depth = name.match(/depth_([\d.]+)/), length = name.match(/(?:length|tokens|ctx|len)_(\d+)/);
    if (depth) cells.push({depth: +depth[1], length: length ? +length[1] : row.protocol.ctx, value});
  }
  return cells;
}

const inOrder = values => [...new Set(values)].sort((a, b) => a - b);

function heatRow(label, depths, cells) {
  return [label, ...depths.map(depth => {
    const cell = cells.find(c => c.depth === depth);
    return cell ? heatCell(number(cell.value, 2), cell.value, 'good') : '-';
  })];
}

function depthMaps(task, rows) {
  const all = rows.map(depthCells), depths = inOrder(all.flat().map(c => c.depth));
  const lengths = inOrder(all.flat().map(c => c.length));
  if (!depths.length) return [];
  const titles = depths.map(depth => percent(depth));
  const maps = lengths.length < 2 ?
    [table(`Task ${task}: accuracy by depth of the answer (0 % is the start), ${number(lengths[0])} tokens`,
      ['plan', ...titles], rows.map((row, i) => heatRow(planCell(row), depths, all[i])), {class: 'heat'})] :
    rows.map((row, i) => table(`${row.preset}: accuracy by tokens and depth`, ['tokens', ...titles],
      lengths.map(length => heatRow(number(length), depths, all[i].filter(c => c.length === length))), {class: 'heat'}));
  return [el('h3', {}, 'By depth'), el('div', {class: 'heats'}, ...maps)];
}

// Errors by layer and kv_head: [{layer, head, value}]
function headCells(row) {
  const cells = [];
  for (const [name, value] of Object.entries(row.metrics)) {
    const at = name.match(/layer_?(\d+).*head_?(\d+)/);
    if (at) cells.push({layer: +at[1], head: +at[2], value});
  }
  return cells;
}

function errorMaps(task, rows) {
  const all = rows.map(headCells), values = all.flat().map(c => c.value).filter(v => v > 0);
  if (!all.flat().length) return [];
  const layers = inOrder(all.flat().map(c => c.layer)), heads = inOrder(all.flat().map(c => c.head));
  const least = Math.log(Math.min(...values, 1)), most = Math.log(Math.max(...values));
  const heat = v => v > 0 && most > least ? 0.08 + 0.92 * (Math.log(v) - least) / (most - least) : 0;
  const maps = rows.map((row, i) => table(`${row.preset}: error by layer and kv_head`,
    ['layer', ...heads.map(head => 'head ' + head)],
    layers.map(layer => [String(layer), ...heads.map(head => {
      const cell = all[i].find(c => c.layer === layer && c.head === head);
      return cell ? heatCell(number(cell.value, 2), heat(cell.value), 'bad') : '-';
    })]), {class: 'heat'}));
  return [el('h3', {}, 'By layer and head'), layerChart(task, rows, all, layers),
    el('p', {class: 'muted'}, 'One colour scale for all plans, logarithmic.'), el('div', {class: 'heats'}, ...maps)];
}

// --- sections ------------------------------------------------------------------------------------

function section(id, title, ...content) {
  document.getElementById('contents').append(el('a', {href: '#' + id}, title));
  return el('section', {id}, el('h2', {}, title), ...content);
}

function taskSection(task, rows) {
  const ranges = rows.some(interval) ? ' Bars are 95 % intervals.' : '';
  return section('task-' + task, task,
    el('p', {class: 'muted'}, (data.tasks[task] || '') + '.' + ranges),
    paretoChart(task, rows), resultTable(task, rows),
    details('Everything measured', fullTable(task, rows)),
    ...depthMaps(task, rows), ...errorMaps(task, rows));
}

function factTable(caption, facts) {
  return table(caption, ['', ''], facts.map(([name, value]) => [name, el('td', {class: 'text'}, value)]), {class: 'facts'});
}

function runSection() {
  const {model, machine, command} = data.eval;
  const plans = [...groupBy(data.eval.results, row => row.preset).values()].map(rows => [rows[0].preset, rows[0].plan]);
  const flat = object => Object.entries(object).map(([name, value]) =>
    [name.replaceAll('_', ' '), typeof value === 'number' ? number(value) : String(value)]);
  return section('run', 'How it was made',
    el('h3', {}, 'Command'), el('pre', {}, command),
    el('h3', {}, 'Model and machine'),
    el('div', {class: 'heats'}, factTable('Model', flat(model)), factTable('Machine', flat(machine))),
    el('h3', {}, 'Plans in full'), factTable('Plans', plans),
    el('p', {class: 'muted'}, 'Bits count everything that is resident: codes, scales, positions, scores, exact rows, ' +
      'slack, tables. Two figures whose intervals overlap do not tell two plans apart.'));
}

function header() {
  const {model, machine} = data.eval;
  const name = model.name || model.path;
  document.title = `kvkeep eval: ${name}`;
  document.getElementById('title').textContent = `What plans cost ${name} in quality`;
  document.getElementById('facts').textContent = `${data.date}. ${number(model.parameters)} parameters, ${model.layers} layers, ` +
    `${model.kv_heads} kv_heads of ${model.head_dim}. ${machine.cpu}, ${machine.isa}, ${machine.threads} threads.`;
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
