const WIDTH = 760
const HEIGHT = 420
const EDGE = { left: 84, right: 24, top: 88, bottom: 58 }
const COLORS = ['#1f6feb', '#d1480f', '#2a8a4a', '#8250df']

/**
 * A line chart as SVG text. `x.log` draws decades; y begins at zero, because a cut axis makes every slope a cliff.
 * @param series `[{ name, points: [[x, y], …] }]`
 */
export function chart({ title, note, x, y, series }) {
  const points = series.flatMap((each) => each.points)
  const scaleX = axis(
    points.map(([at]) => at),
    EDGE.left,
    WIDTH - EDGE.right,
    x.log,
  )
  const top = niceCeiling(Math.max(...points.map(([, value]) => value)))
  const placeY = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.bottom - EDGE.top)
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="system-ui, sans-serif" font-size="13" fill="#24292f" role="img">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    `<text x="20" y="27" font-size="17" font-weight="600">${escaped(title)}</text>`,
    `<text x="20" y="46" fill="#57606a" font-size="12">${escaped(note)}</text>`,
  ]
  for (let i = 0; i <= 4; i++) {
    const value = (top / 4) * i
    const at = placeY(value)
    parts.push(
      `<line x1="${EDGE.left}" x2="${WIDTH - EDGE.right}" y1="${at}" y2="${at}" stroke="#d8dee4"/>`,
      `<text x="${EDGE.left - 10}" y="${at + 4}" text-anchor="end" fill="#57606a">${short(value)}</text>`,
    )
  }
  for (const tick of scaleX.ticks)
    parts.push(
      `<line x1="${scaleX.place(tick)}" x2="${scaleX.place(tick)}" y1="${HEIGHT - EDGE.bottom}" y2="${HEIGHT - EDGE.bottom + 5}" stroke="#57606a"/>`,
      `<text x="${scaleX.place(tick)}" y="${HEIGHT - EDGE.bottom + 21}" text-anchor="middle" fill="#57606a">${short(tick)}</text>`,
    )
  parts.push(
    `<text x="${(EDGE.left + WIDTH - EDGE.right) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${escaped(x.label)}</text>`,
    `<text transform="translate(20 ${(EDGE.top + HEIGHT - EDGE.bottom) / 2}) rotate(-90)" text-anchor="middle">${escaped(y.label)}</text>`,
  )
  for (const [i, { points: own }] of series.entries()) {
    const color = COLORS[i % COLORS.length]
    const placed = own.map(([at, value]) => [scaleX.place(at).toFixed(1), placeY(value).toFixed(1)])
    parts.push(`<polyline points="${placed.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>`)
    if (own.length <= 30)
      parts.push(...placed.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3.5" fill="${color}"/>`))
  }
  parts.push(...legend(series), '</svg>')
  return `${parts.join('\n')}\n`
}

/** Names in a row above the plot; none where there is only one line. A letter is 7 wide, near enough to not touch the next. */
function legend(series) {
  if (series.length < 2) return []
  let left = EDGE.left
  return series.flatMap(({ name }, i) => {
    const mark = `<rect x="${left}" y="60" width="14" height="12" rx="2" fill="${COLORS[i % COLORS.length]}"/>`
    const text = `<text x="${left + 20}" y="71">${escaped(name)}</text>`
    left += 48 + name.length * 7
    return [mark, text]
  })
}

function axis(values, from, to, log) {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  const size = log ? Math.log10 : (value) => value
  const [start, end] = [log ? size(low) : Math.min(0, low), size(high)]
  const place = (value) => from + (end === start ? 0.5 : (size(value) - start) / (end - start)) * (to - from)
  // On decades every value that was measured, where there are few: one between two of them tells nothing.
  const distinct = [...new Set(values)].sort((a, b) => a - b)
  const ticks = log && distinct.length <= 8 ? distinct : Array.from({ length: 6 }, (_, i) => (high / 5) * i)
  return { place, ticks }
}

function niceCeiling(value) {
  const decade = 10 ** Math.floor(Math.log10(value))
  return decade * ([1, 2, 3, 4, 6, 8, 10].find((step) => step * decade >= value) ?? 10)
}

function short(value) {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`
  return Number(value.toPrecision(3)).toLocaleString('en-US')
}

const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
