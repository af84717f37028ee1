#!/bin/sh
# Train the shipped captioner anew, from the repository's root, in the environment of `make demo`:
#
#     sh Pre-trained/rebuild.sh EVERYDAY OUTPUT [N]
#
# Flickr8k lies in data/flickr8k. EVERYDAY is a folder with images/, captions.txt (image,caption),
# train.txt and dev.txt. OUTPUT takes everything, 5 GB. It takes two hours on two cores; the same
# command continues an interrupted run. N is for a quick test: N images of each data set.
set -eu
everyday=$1 out=$2 limit=${3:+--limit $3}
flickr=data/flickr8k text=data/flickr8k/Flickr8k_text
mkdir -p "$out"

# The odd lines of both development splits choose epochs. The even ones are for the figures.
awk 'NR % 2' $text/Flickr_8k.devImages.txt > "$out/flickr-odd.txt"
awk 'NR % 2' "$everyday/dev.txt" > "$out/everyday-odd.txt"

extract() { # output, more options...
    features=$1; shift
    python 1_data_preprocessor.py --images $flickr/Flicker8k_Dataset "$everyday/images" \
        --captions $text/Flickr8k.token.txt "$everyday/captions.txt" --text-rules ptb --grid \
        --descriptions "$out/descriptions.txt" --features "$out/$features.h5" --resume $limit "$@"
}
on_splits() { # script, more options...
    python "$@" --descriptions "$out/descriptions.txt" --dtype bfloat16 --resume $limit \
        --train-split $text/Flickr_8k.trainImages.txt "$everyday/train.txt" --repeat 1 2 \
        --dev-split "$out/flickr-odd.txt" "$out/everyday-odd.txt"
}
decoder() { # output, features, more options...
    run=$1 features=$2; shift 2
    on_splits 2_train_IC_model.py --decoder attention --normalize --patience 0 \
        --features "$out/$features.h5" --views "$out/$features-view1.h5" "$out/$features-view2.h5" \
        --output-dir "$out/$run" "$@"
}
three_views() { # output, more options...
    features=$1; shift
    extract "$features" "$@"
    for view in 1 2; do extract "$features-view$view" --only features --view $view "$@"; done
}

# 1. A decoder on the encoder as ImageNet left it; then both together, all stages.
three_views imagenet
decoder first imagenet --epochs 5
on_splits tools/fine_tuning.py --model "$out/first/checkpoints/best_model.keras" \
    --images $flickr/Flicker8k_Dataset "$everyday/images" --stages all --stage-decay 0.8 \
    --captions 3 --least-area 0.35 --colour-jitter --ema 0.999 --epochs 5 --learning-rate 4e-4 \
    --output-dir "$out/fine"

# 2. A new decoder on the encoder that this leaves.
weights=$out/fine/checkpoints/efficientnet_lite0-captions.weights.h5
three_views fine --weights "$weights"
decoder captioner fine --epochs 7 --label-smoothing 0

# 3. What ships.
python tools/export_model.py "$out/captioner/checkpoints/best_model.keras" \
    --output "$out/model-captioner.keras"
cp "$weights" "$out"
