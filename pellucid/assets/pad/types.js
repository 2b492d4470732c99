// The types of the pad's scripts, for the type check and the reader; no page carries this file.
// Those from PadData on are the twins of pellucid/pad/data.py, field by field.

/** @typedef {[number, number]} Point  x and y in units of the pad, 280 a side */
/** @typedef {Point[] & {erases?: boolean}} Stroke  a line drawn without lifting the pen; `erases`: on a picture */
/** @typedef {[number, number, number, number]} Area  pixels: top, left, bottom, right, ends included */
/** @typedef {(key: string, values?: Record<string, unknown>) => string} Say  a sentence of words.json */
/** @typedef {{pixels: Uint8Array[]}} Picture  bytes (C, H, W) as each run on the page receives them; some may lack */
/** @typedef {() => void} Refresher  brings a part of the page up to date */

/**
 * What is chosen of one run.
 * @typedef {object} Choices
 * @property {number} snapshot  of training; as many as there are snapshots: the weights of now
 * @property {Map<number, Set<number>>} off  channels switched off, by the value index of their layer
 * @property {Cell | null} chosen  the cell whose channel is open
 * @property {boolean} contrast  whether evidence is against the runner-up
 * @property {"layer" | "channel" | "fixed"} scale  of the colours
 */

/**
 * One cell of a layer.
 * @typedef {object} Cell
 * @property {Layer} layer
 * @property {number} channel
 * @property {number} row
 * @property {number} column
 */

/**
 * A layer as it can be shown.
 * @typedef {object} Layer
 * @property {string} name
 * @property {number} value  the index of its last value
 * @property {number} first  the index of its first value
 * @property {string[]} kinds  of its operations, in order
 * @property {number[]} shape  as it is shown: (C, H, W) or (F,)
 * @property {number[]} whole  as it is
 * @property {[Span[], Span[]] | "whole" | null} field  rows and columns that a cell sees; null: ask the answerer
 */

/** @typedef {[number, number]} Span  first and last, ends included */

/**
 * What an answerer is asked.
 * @typedef {object} Question
 * @property {Uint8Array} pixels  (C, H, W)
 * @property {number | null} snapshot  null: the weights of now
 * @property {Map<number, Set<number>>} off
 * @property {boolean} contrast
 * @property {Cell | null} chosen
 */

/**
 * What a network answers.
 * @typedef {object} Answer
 * @property {Float32Array} scores  (K,)
 * @property {Float64Array} probabilities  (K,)
 * @property {number} first  the class of the highest probability
 * @property {number} second  the runner-up
 * @property {Evidence | null} evidence
 * @property {number | null} milliseconds  that torch took
 * @property {Novelty | null} novelty  null: not known
 */

/**
 * How unlike the training pictures a picture is.
 * @typedef {object} Novelty
 * @property {boolean} unlike  whether it is called unlike anything taught
 * @property {number} distance
 * @property {number} nearer  percent of the pictures held out of training that are nearer, rounded down
 * @property {number} held_out  how many those are
 */

/**
 * Gradient times activation, summed over channels.
 * @typedef {object} Evidence
 * @property {Layer} layer
 * @property {Float32Array} cells  (height, width)
 * @property {number} height
 * @property {number} width
 * @property {number} sum
 */

/** @typedef {{prediction: number, confidence: number}} PastAnswer  of one snapshot */

/**
 * Whatever answers drawings: the engine in this page, or torch over HTTP. `last`, `values` and `trace` speak of
 * the last answer given.
 * @typedef {object} Answerer
 * @property {Layer[]} layers
 * @property {Layer | null} evidenceLayer  the layer at which evidence is shown
 * @property {Set<number> | null} open  value indices of the layers asked for; null: every layer is always there
 * @property {Answer} last
 * @property {(question: Question, done: (error: Error | null) => void) => void} ask  `done` is not called for a
 *   question that a newer one displaced; the page's own engine calls it before `ask` returns
 * @property {(layer: Layer) => Float32Array | undefined} values
 * @property {(layer: Layer, row: number, column: number) => Area | null} field  null: not known
 * @property {(cell: Cell) => Trace | null} trace  how a cell came about; null: not answered yet
 * @property {(question: Question, done: (answers: PastAnswer[]) => void, failed: (error: Error) => void) => void} past
 *   what every snapshot answers, now last; nothing while the snapshots are not there yet
 * @property {(layer: Layer, channel: number, changed: () => void) => ChannelFacts | null} channel  what test
 *   pictures tell of a channel; `changed` is called when more is known
 * @property {(index: number) => TestPicture} picture  one of those that `channel` names
 * @property {() => Promise<Record<string, [number, number]>>} scales  lowest and highest value of each layer
 * @property {() => Net | null} copy  a network of the same weights to try changes on; null: not in the page
 * @property {(done: (error: Error | null) => void) => void} load  unpacks snapshots and test pictures
 */

/**
 * What test pictures tell of a channel.
 * @typedef {object} ChannelFacts
 * @property {boolean} [waiting]  it is being counted
 * @property {string} [failed]  why it could not be
 * @property {number[]} [top]
 * @property {number[]} [low]
 * @property {number[]} [random]
 * @property {number} [excited]
 * @property {number} [sample_size]  pictures the statistics are computed from
 * @property {number} [count]  pictures chosen from
 * @property {number[] | null} [accuracy_change]  without the channel, overall and by class, in tenths of a point
 * @property {number[] | null} [beyond_chance]  which of these changes are: 0 overall, then the classes
 * @property {number} [tested_channels]  for how many channels that is corrected
 * @property {number} [ablation_pictures]  pictures classified without it
 */

/**
 * @typedef {object} TestPicture
 * @property {Uint8Array} pixels  small enough to show
 * @property {number[]} shape  (C, H, W) of `pixels`
 * @property {number} label
 * @property {string} source  its name
 * @property {() => Promise<Uint8Array>} whole  as the network receives it
 */

/**
 * How the value of a cell came about, as explanation/trace.py gives it.
 * @typedef {object} Trace
 * @property {string} kind  conv2d, linear, block, a pooling, or "steps"
 * @property {string[][]} received  names of the layers each input comes from
 * @property {number} row
 * @property {number} column
 * @property {number} value
 * @property {Step[]} after  what follows the sum
 * @property {Layer[]} inside  the layers a block is made of
 * @property {number[] | null} [kernel]  height and width
 * @property {Float32Array} [weights]
 * @property {number} [first]
 * @property {number} [bias]
 * @property {number} [total]
 * @property {number} [pooled]
 * @property {Product[]} [products]  of a sum, input channel by input channel
 * @property {number[]} [parts]  of a pooling or of functions: what they were given
 */

/** @typedef {{name: string, value: number, factor?: number, term?: number}} Step */
/** @typedef {{channel: number, sum: number, factor?: number, input?: number, kernel?: Float32Array, patch?: Float32Array}} Product */

/**
 * A network run in the page, every value kept.
 * @typedef {object} Net
 * @property {ProgramData} program
 * @property {Float32Array[]} weights
 * @property {number[][]} shapes  of every value
 * @property {Float32Array[]} values
 * @property {Float32Array[]} gradients
 * @property {Layer[]} layers
 * @property {number} last  the index of the last value
 * @property {(picture: ArrayLike<number>, off?: Map<number, Set<number>>) => Float32Array} run
 * @property {(seed: ArrayLike<number>, to: number, off?: Map<number, Set<number>>) => Float32Array} backward
 */

/** @typedef {{forward: () => void, backward: (to: number) => void}} Runner */
/** @typedef {(operation: OperationData, index: number, net: Net) => Runner} Kind */

/**
 * One network on the page, with what is shown of it.
 * @typedef {object} Run
 * @property {number} place  among the runs
 * @property {string} letter  A, B or C; empty where there is one run
 * @property {string} name
 * @property {string} model
 * @property {number | null} accuracy
 * @property {PadData} data
 * @property {number[]} shape  (C, H, W)
 * @property {number} snapshots  how many there are
 * @property {Answerer} answerer
 * @property {Choices} choices
 * @property {Uint8Array} pixels  what it receives
 * @property {boolean} asked  whether an answer is on its way
 * @property {number} milliseconds  from the last question to its answer
 * @property {CheckResult | null} check
 * @property {PastAnswer[] | null} pastAnswers
 * @property {RunView} view
 */

/** @typedef {{difference: number, wrong: number, good: boolean}} CheckResult */

/**
 * What stands on the page of a run; made anew for another language.
 * @typedef {object} RunView
 * @property {HTMLElement} root
 * @property {[string, string]} heads  tags of a heading and of one below it
 * @property {Refresher[]} refreshers
 * @property {LayerView[]} layers
 * @property {{element: HTMLElement, refreshers: Refresher[]} | null} panel  the open channel
 * @property {(area: Area | null) => void} showField
 * @property {(layer: Layer) => void} reveal  opens a layer
 * @property {(answers: PastAnswer[]) => void} showPast
 * @property {(error: Error) => void} pastFailed
 * @property {(error: Error | null) => void} failed  says so at the run; null: all is well again
 * @property {number} player  the timer that plays snapshots, or 0
 */

/**
 * @typedef {object} LayerView
 * @property {Layer} layer
 * @property {number} channels
 * @property {number} height
 * @property {number} width
 * @property {boolean} flat
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} mark
 * @property {HTMLElement} sheet
 * @property {HTMLElement} read
 * @property {HTMLElement} bar
 * @property {HTMLElement} low
 * @property {HTMLElement} high
 * @property {HTMLElement} figure
 * @property {number | null} walked  the channel that keys have come to
 * @property {{zoom: number, gap: number, columns: number, rows: number, image: ImageData, words: Uint32Array} | null} tiles
 */

/**
 * The page around one drawing.
 * @typedef {object} Page
 * @property {HTMLElement} root
 * @property {string} language
 * @property {Say} say
 * @property {[string, string]} heads
 * @property {boolean} columns  whether runs stand side by side
 * @property {Drawing} drawing
 * @property {Run[]} runs
 * @property {((file: File) => Promise<Picture>) | null} readFile  asks the server to read a picture
 * @property {Refresher[]} refreshers
 * @property {HTMLElement} announcement  read aloud
 * @property {() => boolean} busy  whether a frame or what follows a change is still to come
 * @property {Refresher} changed  paints a new frame soon
 * @property {Refresher} settle  after something was done: past, address, announcement
 * @property {Refresher} turn  to the other language
 * @property {boolean} closed  whether a page of another language took its place
 * @property {Refresher} compared  after every frame and answer
 * @property {(area: Area | null) => void} showField
 * @property {Frame[]} frames  how long the last ones took
 */

/** @typedef {{place: number, run: number, paint: number, total: number}} Frame  milliseconds */

/**
 * What a page shows, as Python sends it.
 * @typedef {object} PageData
 * @property {string} language
 * @property {Record<string, Record<string, string>>} words
 * @property {RunData[]} runs
 * @property {DisputedData | null} disputed
 */
/** @typedef {{name: string, model: string, accuracy: number | null, data: PadData}} RunData */
/** @typedef {{sample_size: number, disagreements: number, pictures: string, labels: number[], answers: number[][]}} DisputedData */

/** @typedef {{fits: (shape: number[]) => boolean, at: (index: number, channels: number) => Promise<Uint8Array | null>, label: (index: number) => number}} TestPictures */

/**
 * @typedef {object} PadData
 * @property {string[]} classes
 * @property {number} temperature  what scores are divided by before the softmax
 * @property {string} data  what was trained on
 * @property {ProgramData} program
 * @property {WeightsData | null} weights
 * @property {RuleData | null} rule
 * @property {Record<string, number[]> | null} training_percentiles  of measures of training pictures
 * @property {CheckData} check
 * @property {Record<string, [number, number]>} scales
 * @property {PoolData | null} pool
 * @property {number} ablation_pictures  pictures on which channels were switched off; 0: none
 * @property {number} tested_channels  how many were
 * @property {Record<string, ChannelData>} channels
 * @property {SnapshotsData | null} snapshots
 * @property {TooLargeForSnapshots | null} too_large_for_snapshots
 * @property {TorchData | null} torch
 * @property {EvidenceData} evidence
 * @property {NoveltyData | null} novelty
 * @property {"none" | "stretch" | "pad" | "crop"} fit  how a picture of another size is made to fit
 * @property {number} background  0..255, behind transparent pictures and around padded ones
 */

/**
 * @typedef {object} NoveltyData
 * @property {number} value  the index of the value that is the last hidden layer
 * @property {number} count
 * @property {number} width
 * @property {"f16" | "i8"} precision
 * @property {string} pictures  training pictures as that layer has them, (count, width)
 * @property {number} neighbours  over whose distances is averaged
 * @property {number} threshold  the distance from which on a picture is called unlike
 * @property {number[]} percentiles  of the distances of pictures held out
 * @property {number} held_out  how many they are
 */

/**
 * @typedef {object} EvidenceData
 * @property {"passed" | "failed" | "undecided" | null} outcome  of the tests of the pad's kind of evidence map; null: not tested
 * @property {string[]} passed  the methods that passed, the best first
 */

/**
 * @typedef {object} ProgramData
 * @property {number[]} shape
 * @property {OperationData[]} operations
 * @property {number[][]} tensors
 */

/**
 * One step of a program. Its numbers (stride, padding, ...) stand beside these fields.
 * @typedef {object} OperationFields
 * @property {string} kind
 * @property {string} layer
 * @property {number[]} inputs
 * @property {number[]} shape
 * @property {number[]} tensors
 * @property {boolean} spatial  whether its output is maps that lie over the picture
 */
/** @typedef {OperationFields & {[attribute: string]: any}} OperationData */

/**
 * @typedef {object} WeightsData
 * @property {"f16" | "f32" | "i8"} precision
 * @property {string} data
 */

/**
 * @typedef {object} RuleData
 * @property {number} size
 * @property {[number, number]} box
 * @property {number} pen
 * @property {"mass" | "box"} centre
 */

/**
 * @typedef {object} CheckData
 * @property {string} pictures
 * @property {number[] | null} labels
 * @property {number[][]} scores
 * @property {number} tolerance
 * @property {number} rounding
 * @property {number} changed
 * @property {number} sample_size
 */

/**
 * @typedef {object} PoolData
 * @property {number} count
 * @property {string} pictures
 * @property {number[]} labels
 * @property {string[]} sources
 */

/**
 * @typedef {object} ChannelData
 * @property {string | null} same_as  a layer before it with the same table
 * @property {number[][] | null} top
 * @property {number[][] | null} low
 * @property {number[] | null} excited
 * @property {number[][] | null} accuracy_change
 * @property {number[][] | null} beyond_chance
 */

/**
 * @typedef {object} SnapshotsData
 * @property {number} count
 * @property {number} total
 * @property {string[]} names
 * @property {number[]} steps
 * @property {number | null} bits  of a weight; null: as the run kept them
 * @property {string} data
 * @property {number[] | null} accuracy
 * @property {number} agreement
 * @property {number} difference
 * @property {number} sample_size
 */

/**
 * @typedef {object} TooLargeForSnapshots
 * @property {number} weights
 * @property {number} limit
 */

/**
 * @typedef {object} TorchData
 * @property {TorchLayerData[]} layers
 * @property {number | null} evidence
 * @property {string} reason
 */

/**
 * @typedef {object} TorchLayerData
 * @property {string} name
 * @property {number[]} shape
 * @property {number[]} shown_shape
 * @property {[Span[], Span[]] | "whole" | null} receptive_field
 */
