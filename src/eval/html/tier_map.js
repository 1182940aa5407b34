// Tier maps: a canvas a plan, a pixel column a token, a row a kv_head. Pointing at a token names it.
const rowPixels = rows => Math.max(2, Math.min(9, Math.floor(320 / rows)));

// The colour of a level: exact and high ones are blue, the low one yellow, evicted ones pale.
function tierColor(plan, level) {
  if (level < 0) return 'tier-gone';
  return level >= plan.low_level ? 'tier-low' : 'tier-' + Math.min(level, 2);
}

const levelAt = (plan, layer, head, position) => {
  const digit = plan.rows[layer][head][position];
  return digit === '.' ? -1 : +digit;
};
const levelName = (plan, level) => level < 0 ? 'evicted' : plan.levels[level];

function rgb(text) {
  const hex = text.length === 4 ? text.replace(/[0-9a-f]/gi, '$&$&') : text;
  return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
}

// Rows of heads, each `height` pixels, and a gap of a pixel between layers.
function paintMap(canvas, plan, height) {
  const heads = plan.rows[0].length, tokens = plan.rows[0][0].length;
  const context = canvas.getContext('2d');
  const image = context.createImageData(canvas.width, canvas.height);
  const colors = new Map([-1, ...plan.levels.keys()].map(level => [level, rgb(color(tierColor(plan, level)))]));
  plan.rows.forEach((rows, layer) => rows.forEach((_, head) => {
    const top = layer * (heads * height + 1) + head * height;
    for (let position = 0; position < tokens; ++position) {
      const pixel = colors.get(levelAt(plan, layer, head, position));
      for (let y = top; y < top + height; ++y) image.data.set([...pixel, 255], 4 * (y * canvas.width + position));
    }
  }));
  context.putImageData(image, 0, 0);
}

function share(plan, level, begin, end, rows) {
  let found = 0;
  for (const row of rows) for (let i = begin; i < end; ++i) found += (row[i] === '.' ? -1 : +row[i]) === level;
  return found / Math.max(1, (end - begin) * rows.length);
}

function tierTable(plan, [begin, end]) {
  const levels = [...plan.levels.keys(), -1], tokens = plan.rows[0][0].length;
  const titles = ['layer, kv_head', ...levels.map(level => levelName(plan, level)),
    ...levels.map(level => 'key: ' + levelName(plan, level))];
  const cells = (label, rows) => [label, ...levels.map(level => percent(share(plan, level, 0, tokens, rows))),
    ...levels.map(level => percent(share(plan, level, begin, end, rows)))];
  return table(`${plan.preset}: share of tokens by precision; "key" is the sentence with the pass key`, titles,
    [cells('all', plan.rows.flat()), ...plan.rows.flatMap((rows, layer) => rows.map((row, head) => cells(`${layer}, ${head}`, [row])))]);
}

function axis(tokens, [begin, end]) {
  const at = position => (100 * position / tokens) + '%';
  const mark = el('span', {class: 'fact', title: 'the sentence with the pass key'}, '');
  mark.style.left = at(begin);
  mark.style.width = at(end - begin);
  const ticks = el('div', {class: 'axis'});
  for (const position of [0, Math.round(tokens / 2), tokens - 1]) {
    const tick = el('span', {}, position === 0 ? 'position 0' : String(position));
    tick.style.left = at(position);
    if (position > 0) tick.style.transform = position === tokens - 1 ? 'translateX(-100%)' : 'translateX(-50%)';
    ticks.append(tick);
  }
  return [el('div', {class: 'axis'}, mark), ticks];
}

function tierFigure(plan) {
  const {tokens, fact} = data.prompt;
  const layers = plan.rows.length, heads = plan.rows[0].length, height = rowPixels(layers * heads);
  const canvas = el('canvas', {role: 'img', width: tokens.length, height: layers * (heads * height + 1) - 1,
    'aria-label': `${plan.preset}: precision of each token by layer and kv_head. The table below holds the shares.`});
  canvas.style.height = canvas.height + 'px';
  drawings.push(() => paintMap(canvas, plan, height));
  const output = el('output', {}, 'Point at a token.');
  canvas.addEventListener('pointermove', event => {
    const box = canvas.getBoundingClientRect();
    const position = Math.min(tokens.length - 1, Math.floor((event.clientX - box.left) / box.width * tokens.length));
    const y = Math.max(0, Math.min(canvas.height - 1, event.clientY - box.top));
    const layer = Math.floor(y / (heads * height + 1));
    const head = Math.min(heads - 1, Math.floor((y - layer * (heads * height + 1)) / height));
    output.textContent = `position ${position} ${JSON.stringify(tokens[position])}, layer ${layer}, kv_head ${head}: ` +
      levelName(plan, levelAt(plan, layer, head, position));
  });
  const labels = el('div', {class: 'layers', 'aria-hidden': true}, ...plan.rows.map((_, i) => el('span', {}, layers > 16 && i % 4 ? '' : 'L' + i)));
  const held = [...plan.levels.keys()].filter(level => level < plan.low_level)
    .map(level => share(plan, level, ...fact, plan.rows.flat())).reduce((a, b) => a + b, 0);
  const gone = share(plan, -1, ...fact, plan.rows.flat());
  const [mark, ticks] = axis(tokens.length, fact);
  return el('figure', {}, el('h3', {}, plan.preset),
    el('ul', {class: 'keys'}, ...[...plan.levels.keys(), -1].map(level => {
      const swatch = el('span', {class: 'swatch'});
      swatch.style.background = `var(--${tierColor(plan, level)})`;
      return el('li', {}, swatch, `${levelName(plan, level)} ${percent(share(plan, level, 0, tokens.length, plan.rows.flat()))}`);
    })),
    el('div', {class: 'map'}, mark, labels, canvas, ticks, output),
    el('figcaption', {}, `Of the pass key's sentence ${percent(held)} is exact or high, ${percent(gone)} evicted, on average over layers and heads.`),
    details('Shares by layer and head', tierTable(plan, fact)));
}

function tierSection() {
  const {prompt} = data;
  if (prompt.missing) return section('tiers', 'Tier maps', el('p', {}, 'There is no tier map: ' + prompt.missing + '.'));
  const [begin, end] = prompt.fact;
  return section('tiers', 'Tier maps',
    el('p', {}, `Where each token of one prompt stands after its compression, by layer and kv_head: ${number(prompt.tokens.length)} tokens ` +
      'with a pass key half-way, under the bar, that no plan knows it will be asked for.'),
    el('div', {class: 'tiers'}, ...prompt.plans.map(tierFigure)),
    details('The prompt', el('pre', {}, prompt.tokens.slice(0, begin).join(''),
      el('mark', {}, prompt.tokens.slice(begin, end).join('')), prompt.tokens.slice(end).join(''))));
}

// --- colours and paper ---------------------------------------------------------------------------

const redraw = () => drawings.forEach(drawing => drawing());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
// Paper is light, and has nothing to click on.
let opened = [];
addEventListener('beforeprint', () => {
  document.documentElement.classList.add('printing');
  opened = [...document.querySelectorAll('main details:not([open])')];
  opened.forEach(node => { node.open = true; });
  redraw();
});
addEventListener('afterprint', () => {
  document.documentElement.classList.remove('printing');
  opened.forEach(node => { node.open = false; });
  redraw();
});

main();
