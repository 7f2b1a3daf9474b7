"""Style and scripts of the page."""

# Colors are those of the page's theme, so that they follow its dark mode.
CSS = """
.gradio-container {max-width: 1280px !important;}
.figures {display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 12px;}
.figures figure, .preview figure {margin: 0; min-width: 0;}
.figures img, .preview img {display: block; width: 100%; height: auto; border-radius: 4px;}
.preview img {max-height: 240px; object-fit: contain; object-position: left;}
.layers {position: relative;}
.layers .over {position: absolute; inset: 0; opacity: var(--overlay-opacity, 0.55);}
.figures figcaption, .preview figcaption {font-size: 14px; padding-top: 4px; overflow-wrap: anywhere;
  color: var(--body-text-color);}
.scale {height: 10px; border-radius: 3px; margin-top: 4px;}
.ends {display: flex; justify-content: space-between; font-size: 12px; color: var(--body-text-color-subdued);}
ul.legend {display: flex; flex-wrap: wrap; gap: 4px 16px; list-style: none; padding: 0; margin: 12px 0;}
ul.legend li {display: flex; align-items: center; gap: 6px; margin: 0;}
ul.legend i {width: 16px; height: 16px; flex: none; border: 1px solid var(--border-color-primary); border-radius: 3px;}
.wide {overflow-x: auto; font-size: 14px;}
.wide th {overflow-wrap: anywhere; min-width: 5em;}
.wide table {border-collapse: collapse;}
.wide th, .wide td {padding: 4px 8px !important; text-align: left;
  border-bottom: 1px solid var(--border-color-primary);}
.downloads a {display: inline-block; padding: 4px 8px; text-decoration: underline;}
.clickable img {cursor: crosshair;}
a:focus-visible, button:focus-visible, input:focus-visible, label:focus-within {outline: 2px solid var(--color-accent);
  outline-offset: 2px;}
"""

# Runs in the browser alone: no image is sent again.
SET_OPACITY = "(value) => {document.documentElement.style.setProperty('--overlay-opacity', value)}"

# A click on an image of the view, as shares of its width and height.
CLICK_PIXEL = """
element.addEventListener('click', (event) => {
  const image = event.target.closest('img');
  if (!image) return;
  const box = image.getBoundingClientRect();
  trigger('submit', {x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height});
});
"""
