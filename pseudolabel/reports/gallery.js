"use strict";
// The gallery's sounds: the position in the picture, and playing from where the picture is pressed; one sound at a time.

const sounds = [...document.querySelectorAll(".gallery audio")];
for (const audio of sounds) {
  const stage = audio.parentElement.querySelector(".stage");
  const playhead = stage.querySelector(".playhead");
  const seconds = Number(stage.dataset.seconds);
  const follow = () => {
    playhead.hidden = false;
    playhead.style.left = `${(100 * Math.min(audio.currentTime, seconds)) / seconds}%`;
    if (audio.currentTime >= seconds && !audio.paused) audio.pause(); // silence follows
    if (!audio.paused) requestAnimationFrame(follow);
  };
  audio.addEventListener("play", () => {
    for (const other of sounds) if (other !== audio) other.pause();
    follow();
  });
  audio.addEventListener("seeked", follow);
  audio.addEventListener("error", () => audio.after("This sound could not be played. Is its folder still beside this page?"), { once: true });
  stage.addEventListener("click", (event) => {
    const box = stage.getBoundingClientRect();
    const begin = () => { audio.currentTime = (seconds * (event.clientX - box.left)) / box.width; };
    if (audio.readyState >= HTMLMediaElement.HAVE_METADATA) begin();
    else audio.addEventListener("loadedmetadata", begin, { once: true });
    audio.play().catch(() => {});
  });
}
