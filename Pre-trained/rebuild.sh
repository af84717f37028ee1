#!/bin/sh
# Train the shipped captioner anew, from the repository's root, in the environment of `make demo`:
#
#     sh Pre-trained/rebuild.sh EVERYDAY OUTPUT [N]
#
# Flickr8k lies in data/flickr8k. EVERYDAY is a folder with images/, captions.txt (image,caption),
# train.txt and dev.txt. OUTPUT takes everything, 6 GB. It takes two hours on two cores; the same
# command continues an interrupted run. N is for a quick test: N images of each data set.
set -eu
everyday=$1 out=$2 limit=${3:+--limit $3}
flickr=data/flickr8k text=data/flickr8k/Flickr8k_text
mkdir -p "$out"

# The odd lines of both development splits choose epochs. The even ones are for the figures.
awk 'NR % 2' $text/Flickr_8k.devImages.txt > "$out/flickr-odd.txt"
awk 'NR % 2' "$everyday/dev.txt" > "$out/everyday-odd.txt"

extract() { # features, more options...
    features=$1; shift
    python 1_data_preprocessor.py --images $flickr/Flicker8k_Dataset "$everyday/images" \
        --captions $text/Flickr8k.token.txt "$everyday/captions.txt" --text-rules ptb --grid \
        --descriptions "$out/descriptions.txt" --features "$out/$features.h5" --resume $limit "$@"
}
train() { # script, more options...
    python "$@" --descriptions "$out/descriptions.txt" --dtype bfloat16 --resume $limit \
        --train-split $text/Flickr_8k.trainImages.txt "$everyday/train.txt" --repeat 1 2 \
        --dev-split "$out/flickr-odd.txt" "$out/everyday-odd.txt"
}
decoder() { # folder, features, more options...
    folder=$1 features=$2; shift 2
    train 2_train_IC_model.py --normalize --label-smoothing 0 --patience 0 \
        --features "$out/$features.h5" --output-dir "$out/$folder" "$@"
}

# 1. A decoder on the encoder as ImageNet left it; then both together, all stages but the stem.
extract imagenet
decoder first imagenet --decoder attention --epochs 3
train tools/fine_tuning.py --model "$out/first/checkpoints/best_model.keras" \
    --images $flickr/Flicker8k_Dataset "$everyday/images" --stages 5 --stage-decay 0.8 \
    --captions 3 --least-area 0.35 --colour-jitter --ema 0.995 --epochs 6 --learning-rate 4e-4 \
    --output-dir "$out/fine"

# 2. Two new decoders on the encoder that this leaves.
weights=$out/fine/checkpoints/efficientnet_lite0-captions.weights.h5
extract fine --weights "$weights"
for view in 1 2; do extract fine-view$view --only features --view $view --weights "$weights"; done
for kind in attention transformer; do
    decoder $kind fine --decoder $kind --views "$out/fine-view1.h5" "$out/fine-view2.h5" --epochs 8
done

# 3. What ships: both in one file, and the encoder.
python tools/export_model.py "$out/attention/checkpoints/best_model.keras" \
    "$out/transformer/checkpoints/best_model.keras" --output "$out/model-ensemble.keras"
python 4_tokenizer.py --descriptions "$out/descriptions.txt" --min-count 5 $limit \
    --train-split $text/Flickr_8k.trainImages.txt "$everyday/train.txt" --output "$out/tokenizer.pkl"
cp "$weights" "$out"
