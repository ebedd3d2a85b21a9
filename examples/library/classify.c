/* Classifies a recording of an event camera: classify net.lmhtf recording.raw [WIDTH HEIGHT] */
#include <lmht.h>
#include <stdio.h>
#include <stdlib.h>

static lmht_status check(lmht_status status) {
    if (status < 0) {
        fprintf(stderr, "classify: %s\n", lmht_error_message());
        exit(1);
    }
    return status;
}

static void print_decisions(const lmht_network* network, lmht_stream* stream) {
    lmht_decision d;
    while (check(lmht_stream_next(stream, &d)) == LMHT_OK) {
        const char* name = lmht_network_class_name(network, d.label);
        printf("%10.6f s  class %d %s  margin %.3f  %lld events  %lld spikes  %lld SOPs\n",
               (double)d.time * 1e-6, (int)d.label, name ? name : "", d.margin, (long long)d.events,
               (long long)d.spikes, (long long)d.sops);
    }
}

int main(int argc, char** argv) {
    if (argc != 3 && argc != 5) return fprintf(stderr, "classify NETWORK RECORDING [W H]\n"), 2;
    lmht_network* network;
    lmht_recording* recording;
    lmht_stream* stream;
    const int width = argc == 5 ? atoi(argv[3]) : 0, height = argc == 5 ? atoi(argv[4]) : 0;
    check(lmht_network_open(argv[1], NULL, &network));
    check(lmht_recording_open(argv[2], width, height, NULL, &recording));
    check(lmht_stream_create(network, lmht_recording_width(recording),
                             lmht_recording_height(recording), NULL, &stream));
    static lmht_event events[4096];
    size_t count;
    while (check(lmht_recording_next(recording, events, 4096, &count)) == LMHT_OK) {
        check(lmht_stream_push(stream, events, count));
        print_decisions(network, stream);
    }
    check(lmht_stream_finish(stream));
    print_decisions(network, stream);
    lmht_stream_free(stream);
    lmht_recording_free(recording);
    lmht_network_free(network);
    return 0;
}
