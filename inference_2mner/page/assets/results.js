// The threshold acts here, on what the server has sent: the model does not run again. Which words
// attended to what is shown by the style sheet of the renderer.
const root = element.querySelector(".results");

// Each entity of a view, with its mark in the text and its item in the list.
function entitiesOf(view) {
  const marks = view.querySelectorAll(".mner-mark"), items = view.querySelectorAll(".mner-list > li");
  return JSON.parse(view.dataset.entities).map((entity, number) => ({
    ...entity, mark: marks[number], item: items[number],
  }));
}

let threshold = 0;

function show() {
  const views = [...root.querySelectorAll("[data-entities]")].map((view) => {
    const entities = entitiesOf(view);
    for (const {score, mark, item} of entities) {
      mark.classList.toggle("below", score < threshold);
      item.hidden = score < threshold;
    }
    return entities.filter(({score}) => score >= threshold);
  });
  const verdict = root.querySelector("[data-verdict]");
  if (!verdict) return;
  const key = ({start, end, label}) => [start, end, label].join();
  const places = new Set();
  for (const [some, others] of [views, views.toReversed()]) {
    const known = new Set(others.map(key));
    for (const entity of some) {
      const differs = !known.has(key(entity));
      entity.mark.classList.toggle("differs", differs);
      if (differs) places.add(entity.start);
    }
  }
  verdict.textContent = places.size
    ? `Different from the words alone: ${places.size === 1 ? "1 entity" : `${places.size} entities`}.`
    : "The words alone give the same entities.";
}

window.setThreshold = (value) => {
  threshold = value;
  show();
};

function fill() {
  root.innerHTML = props.value;
  show();
}

watch("value", fill);
fill();
