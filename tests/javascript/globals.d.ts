// What pages hold beside the scripts: pellucid/pad/section.py writes the constants before them.
declare const PellucidConstants: typeof import("../../pellucid/assets/constants.json");

interface Window {
  pellucid: unknown;
  pellucidPictures?: TestPictures;
}
