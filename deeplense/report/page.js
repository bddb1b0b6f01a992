// Put the page together.

const state = document.body.classList;
if (two) showThreshold();
showHistogram();
if (labels !== null) showConfusion();
if (state.contains("ranked")) {
  showCurves();
  showReliability();
}
showGallery();

// What scrolls sideways on a narrow screen must be reachable by keyboard; what does not, need not.
const scrolling = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const box of document.querySelectorAll(".scroll")) scrolling.observe(box);

// On paper nothing can be opened.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    details.dataset.printed = "";
  }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("details[data-printed]")) {
    details.open = false;
    delete details.dataset.printed;
  }
});
