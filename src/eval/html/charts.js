// Charts by Chart.js: quality against size, and error by layer. Each is drawn anew when colours
// change; where the build had no library, no chart appears and the tables stand alone.
const charts = typeof Chart !== 'undefined';
const pointStyles = {reference: 'rectRot', mixed: 'circle', uniform: 'rect', eviction: 'triangle'};

// A figure with a canvas that build() makes a Chart.js configuration for.
function chartFigure(label, caption, build) {
  if (!charts) return '';
  const canvas = el('canvas', {role: 'img', 'aria-label': label + ' The table below holds the figures.'});
  let chart;
  drawings.push(() => {
    if (chart) chart.destroy();
    Chart.defaults.color = color('muted');
    Chart.defaults.borderColor = color('line');
    Chart.defaults.font.family = 'system-ui, sans-serif';
    chart = new Chart(canvas, build());
  });
  return el('figure', {}, el('div', {class: 'chart'}, canvas), el('figcaption', {}, caption));
}

// Vertical bars from point.low to point.high.
const whiskers = {
  id: 'whiskers',
  beforeDatasetsDraw(chart) {
    const {ctx, scales: {y}} = chart;
    chart.data.datasets.forEach((dataset, i) => {
      if (dataset.type === 'line' || !chart.isDatasetVisible(i)) return;
      ctx.save();
      ctx.strokeStyle = dataset.borderColor;
      ctx.lineWidth = 1.5;
      chart.getDatasetMeta(i).data.forEach((point, j) => {
        const {low, high} = dataset.data[j];
        if (low === undefined) return;
        const ends = [low, high].map(value => y.getPixelForValue(value));
        ctx.beginPath();
        ctx.moveTo(point.x, ends[0]);
        ctx.lineTo(point.x, ends[1]);
        for (const end of ends) {
          ctx.moveTo(point.x - 4, end);
          ctx.lineTo(point.x + 4, end);
        }
        ctx.stroke();
      });
      ctx.restore();
    });
  },
};

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// Names beside points, each at the first place where it hides nothing; a name without such a place
// is left to the tooltip and the table.
const names = {
  id: 'names',
  afterDatasetsDraw(chart) {
    const {ctx, scales, chartArea: area} = chart;
    const points = chart.data.datasets.flatMap((dataset, i) =>
      dataset.type === 'line' || !chart.isDatasetVisible(i) ? [] :
        chart.getDatasetMeta(i).data.map((point, j) => {
          const {name, low, high} = dataset.data[j];
          const ends = low === undefined ? [point.y, point.y] : [low, high].map(value => scales.y.getPixelForValue(value));
          return {x: point.x, y: point.y, name, ends};
        }));
    const taken = points.flatMap(({x, y, ends}) => [{x: x - 6, y: y - 6, w: 12, h: 12},
      {x: x - 4, y: Math.min(...ends), w: 8, h: Math.abs(ends[0] - ends[1])}]);
    ctx.save();
    ctx.font = '12px system-ui, sans-serif';
    ctx.fillStyle = color('ink');
    ctx.strokeStyle = color('paper');
    ctx.lineWidth = 3;
    ctx.lineJoin = 'round';
    ctx.textBaseline = 'middle';
    for (const {x, y, name} of points) {
      const w = ctx.measureText(name).width, h = 14;
      const places = [];
      for (const far of [0, 14, 28])
        places.push([x + 9, y - far], [x - 9 - w, y - far], [x + 9, y + far], [x - 9 - w, y + far],
          [x - w / 2, y - 15 - far], [x - w / 2, y + 15 + far]);
      const box = places.map(([left, middle]) => ({x: left, y: middle - h / 2, w, h})).find(b =>
        b.x >= area.left && b.x + w <= area.right && b.y >= area.top && b.y + h <= area.bottom &&
        !taken.some(other => overlap(b, other)));
      if (!box) continue;
      taken.push(box);
      ctx.strokeText(name, box.x, box.y + h / 2);
      ctx.fillText(name, box.x, box.y + h / 2);
    }
    ctx.restore();
  },
};

const bitTicks = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32];

function bitsAxis(bits) {
  const [min, max] = [Math.min(...bits) * 0.9, Math.max(...bits) * 1.12];
  return {
    type: 'logarithmic', min, max, title: {display: true, text: 'bits per value, everything counted'},
    afterBuildTicks: axis => { axis.ticks = bitTicks.filter(v => v >= min && v <= max).map(value => ({value})); },
    ticks: {callback: value => String(value), maxRotation: 0, autoSkipPadding: 12},
  };
}

const roundTick = value => /^[125]e/.test(value.toExponential()) ? String(value) : '';

// Accuracies stand on 0 to 1; what spans more than a factor of 20 on a logarithmic scale, where
// zeros lie on the lower edge.
function qualityAxis(name, rows) {
  const title = {display: true, text: `${name} (${isAccuracy(name) ? 'higher' : 'lower'} is better)`};
  const values = rows.flatMap(row => [metric(row), ...(interval(row) || [])]).filter(v => v > 0);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (isAccuracy(name) && !(most > 1))
    return {min: -0.04, max: 1.06, title, afterBuildTicks: axis => { axis.ticks = [0, 0.2, 0.4, 0.6, 0.8, 1].map(value => ({value})); }};
  if (!(most > 20 * least)) return {grace: '8%', title};
  return {type: 'logarithmic', min: least / 3, max: most * 2, title,
    ticks: {callback: roundTick}};
}

// The plans that no other one beats in both quality and size, smallest first.
function frontOf(points, higher) {
  const better = (a, b) => higher ? a >= b : a <= b;
  return points.filter(p => !points.some(q => q !== p && q.x <= p.x && better(q.y, p.y) && (q.x < p.x || q.y !== p.y)))
    .sort((a, b) => a.x - b.x);
}

function tooltip(label) {
  return {displayColors: false, filter: item => item.dataset.type !== 'line', callbacks: {title: () => '', label}};
}

function paretoChart(task, rows) {
  const name = metricName(rows[0]), shown = rows.filter(row => metric(row) !== null);
  if (!shown.length) return '';
  return chartFigure(`Task ${task}: ${name} against bits per value of ${shown.length} plans.`,
    'To the left is smaller. The dashed line joins the plans that no other one beats in both.', () => {
      const y = qualityAxis(name, shown), floor = v => y.type ? Math.max(v, y.min) : v;
      const point = row => ({x: row.cache.bits_per_value, y: floor(metric(row)), name: row.preset, row,
        ...(interval(row) && {low: floor(row.metrics.low), high: floor(row.metrics.high)})});
      const datasets = [...groupBy(shown, family)].map(([key, members]) => ({
        label: families[key], data: members.map(point), pointStyle: pointStyles[key], pointRadius: 6,
        pointHoverRadius: 8, backgroundColor: color(key), borderColor: color(key), clip: 8,
      }));
      datasets.push({type: 'line', label: 'best of their size', data: frontOf(shown.map(point), isAccuracy(name)),
        borderColor: color('front'), borderDash: [5, 4], borderWidth: 1.5, pointRadius: 0, pointHitRadius: 0, pointStyle: 'line'});
      return {type: 'scatter', data: {datasets}, plugins: [whiskers, names], options: {
        animation: false, maintainAspectRatio: false,
        scales: {x: bitsAxis(shown.map(row => row.cache.bits_per_value)), y},
        plugins: {legend: {position: 'bottom', labels: {usePointStyle: true, boxWidth: 9, boxHeight: 9}}, tooltip: tooltip(({raw}) => [raw.name,
          `${name} ${metricText(name, metric(raw.row))}` + (interval(raw.row) ? rangeText(raw.row) : ''),
          `${raw.x.toFixed(2)} bits, ${raw.row.cache.compression_factor.toFixed(2)}x smaller`])},
      }};
    });
}

const lineColors = ['mixed', 'eviction', 'uniform', 'front', 'reference'];
const lineStyles = ['circle', 'triangle', 'rect', 'rectRot', 'cross', 'star'];

// Error by layer, the mean of its kv_heads, a line a plan.
function layerChart(task, rows) {
  const layers = inOrder(cellsOf(rows, 'layer').map(cell => cell.layer));
  return chartFigure(`Task ${task}: error by layer of ${rows.length} plans.`, 'Mean of the kv_heads of a layer.', () => ({
    type: 'line',
    data: {labels: layers, datasets: rows.map((row, i) => {
      const line = color(lineColors[i % lineColors.length]);
      return {label: row.preset, borderColor: line, backgroundColor: line, borderWidth: 1.5, pointRadius: 4,
        pointStyle: lineStyles[i % lineStyles.length], borderDash: i < lineColors.length ? [] : [4, 3],
        data: layers.map(layer => {
          const values = cellsOf([row], 'layer').filter(c => c.layer === layer).map(c => c.value);
          const mean = values.reduce((a, b) => a + b, 0) / values.length;
          return mean > 0 ? mean : null;
        })};
    })},
    options: {animation: false, maintainAspectRatio: false,
      scales: {x: {title: {display: true, text: 'layer'}}, y: {type: 'logarithmic', title: {display: true, text: 'relative error (lower is better)'},
        ticks: {callback: roundTick}}},
      plugins: {legend: {position: 'bottom', labels: {usePointStyle: true, boxWidth: 9, boxHeight: 9}}}},
  }));
}
