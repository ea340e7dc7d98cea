// The value is the image's content as a `data:` URL, or "". Nothing is uploaded before the sentence
// is sent. Larger images are made smaller here, which also removes what a camera noted in them.
const LONGEST_SIDE = 1024;
const MOST_BYTES = 1 << 20;
const KEPT = ["image/jpeg", "image/png", "image/webp", "image/gif"];

const find = (name) => element.querySelector(`[data-${name}]`);
const preview = find("preview"), hint = find("hint"), problem = find("problem");
const remove = find("remove"), file = find("file"), drop = find("drop");

function show(value) {
  preview.hidden = remove.hidden = !value;
  hint.hidden = Boolean(value);
  if (value) preview.src = value;
  else preview.removeAttribute("src");
}

function set(value) {
  problem.textContent = "";
  props.value = value;
  show(value);
  trigger("input");
}

const encoded = (blob) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(blob);
});

async function take(blob) {
  if (!blob) return;
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    problem.textContent = "This file is no image that the browser can read.";
    return;
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && blob.size <= MOST_BYTES && KEPT.includes(blob.type)) {
    set(await encoded(blob));
    return;
  }
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  set(canvas.toDataURL("image/jpeg", 0.92));
}

file.addEventListener("change", () => {
  take(file.files[0]);
  file.value = "";
});
remove.addEventListener("click", () => {
  set("");
  file.focus();
});
find("paste").addEventListener("click", async () => {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) {
        await take(await item.getType(type));
        return;
      }
    }
    problem.textContent = "There is no image in the clipboard.";
  } catch {
    problem.textContent = "The browser does not give the clipboard to this page: press Ctrl+V.";
  }
});
document.addEventListener("paste", (event) => {
  const image = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (image && element.isConnected) {
    event.preventDefault();
    take(image);
  }
});
drop.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.classList.add("over");
});
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  take(event.dataTransfer.files[0]);
});

watch("value", () => show(props.value));
show(props.value);
