const KEYWORDS = new Set(("select from where group by order limit having with as join left right full inner " +
  "outer cross on using union all distinct case when then else end and or not in is null like ilike between " +
  "exists asc desc nulls first last over partition filter qualify interval date timestamp cast true false " +
  "rows range preceding following unbounded current row offset except intersect values describe summarize " +
  "show tables recursive lateral pivot unpivot sample").split(" "))
const TOKEN = /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*'?)|("(?:[^"]|"")*"?)|(\b\d+(?:\.\d+)?\b)|([A-Za-z_]\w*)|([\s\S])/g

function paint(text, words) {
  const escape = (part) => part.replace(/&/g, "&amp;").replace(/</g, "&lt;")
  const out = text.replace(TOKEN, (whole, comment, string, quoted, number, word) => {
    const kind = comment ? "c" : string ? "s" : number ? "n"
      : word && KEYWORDS.has(word.toLowerCase()) ? "k" : word && words.has(word) ? "w" : ""
    return kind ? `<span class="${kind}">${escape(whole)}</span>` : escape(whole)
  })
  return out + "\n"
}

export default function (component) {
  const { parentElement, data, setTriggerValue } = component
  const area = parentElement.querySelector("textarea")
  const shown = parentElement.querySelector("code")
  const behind = parentElement.querySelector("pre")
  const hints = parentElement.querySelector(".hints")
  const state = (area.state ??= { number: -1 })
  state.words = data.words
  const known = new Set(data.words)

  const draw = () => {
    shown.innerHTML = paint(area.value, known)
    area.style.height = "auto"
    area.style.height = Math.min(Math.max(area.scrollHeight, 152), 512) + "px"
    behind.scrollTop = area.scrollTop
  }
  const prefix = () => (/[A-Za-z_]\w*$/.exec(area.value.slice(0, area.selectionStart)) || [""])[0]
  const put = (text, back) => {
    const at = area.selectionStart
    area.setRangeText(text, at - back, area.selectionEnd, "end")
    hints.replaceChildren()
    draw()
  }
  const suggest = () => {
    const start = prefix().toLowerCase()
    const found = start.length < 2 ? [] : state.words
      .filter((word) => word.toLowerCase().startsWith(start) && word.toLowerCase() !== start).slice(0, 6)
    hints.replaceChildren(...found.map((word) => {
      const chip = document.createElement("button")
      chip.type = "button"
      chip.tabIndex = -1
      chip.textContent = word
      chip.onmousedown = (event) => { event.preventDefault(); put(word, prefix().length); area.focus() }
      return chip
    }))
  }
  const run = () => { hints.replaceChildren(); if (area.value.trim()) setTriggerValue("run", area.value) }

  if (data.number !== state.number) {
    if (data.insert && state.number >= 0) put(data.text, 0)
    else area.value = data.text
    state.number = data.number
  }
  area.oninput = () => { draw(); suggest() }
  area.onscroll = () => { behind.scrollTop = area.scrollTop }
  area.onblur = () => hints.replaceChildren()
  area.onkeydown = (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault()
      event.stopPropagation()
      run()
    } else if (event.key === "Tab" && !event.shiftKey && hints.firstChild) {
      event.preventDefault()
      put(hints.firstChild.textContent, prefix().length)
    } else if (event.key === "Escape") hints.replaceChildren()
  }
  parentElement.querySelector(".run").onclick = run
  draw()
}
