/* Voxels of the page: base64, deflated, images less the mean of their left and upper neighbour. */

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function unpack(id) {
  const packed = fromBase64(document.getElementById(id).textContent.trim());
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function addMeans(bytes, [depth, rows, columns]) {
  let i = 0;
  for (let z = 0; z < depth; z++) {
    for (let y = 0; y < rows; y++) {
      let left = 0;
      for (let x = 0; x < columns; x++, i++) {
        const upper = y ? bytes[i - columns] : 0;
        left = (bytes[i] + ((left + upper) >> 1)) & 255;
        bytes[i] = left;
      }
    }
  }
  return bytes;
}

async function readStudy() {
  const study = JSON.parse(document.getElementById("meta").textContent);
  const [, rows, columns] = study.shape;
  study.strides = [rows * columns, columns, 1];
  for (const image of study.images) {
    image.channels = [];
    for (const id of image.blocks) image.channels.push(addMeans(await unpack(id), study.shape));
  }
  study.labels = [];
  for (const id of study.layers) study.labels.push(await unpack(id));
  for (const structure of study.structures) {
    structure.member = new Uint8Array(256);
    for (const byte of structure.bytes) structure.member[byte] = 1;
  }
  return study;
}

function toRgb(hex) {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

/* Patient position (LPS mm) of a voxel index. */
function toWorld(study, index) {
  return study.affine.slice(0, 3).map((row) => row[0] * index[0] + row[1] * index[1] + row[2] * index[2] + row[3]);
}

function inSlices(box, axis, at) {
  return at >= box.low[axis] && at <= box.high[axis];
}
