// Python bindings of the events room. Events come as uint8 [n, 13] (EVENT of events/arrays.py) or
// int64 [n, 4] (t, x, y, p). Arguments are checked here. events/_core.pyi describes them for
// Python.
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "bins.hpp"
#include "decoders.hpp"
#include "filters.hpp"
#include "frames.hpp"
#include "logarithm.hpp"
#include "native/bindings.hpp"
#include "pixels.hpp"
#include "validator.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace lmht::events;
using lmht::Array;
using lmht::require;

// A Size is any Python object with the attributes `height` and `width`, such as a Sensor.
namespace nanobind::detail {
template <>
struct type_caster<Size> {
    NB_TYPE_CASTER(Size, const_name("Sensor"))

    bool from_python(handle from, uint8_t, cleanup_list*) noexcept try {
        value = {cast<int64_t>(from.attr("height")), cast<int64_t>(from.attr("width"))};
        return true;
    } catch (const std::exception&) {
        return false;
    }
};
}  // namespace nanobind::detail

namespace {

using Packed = Array<const uint8_t, 2>;
using Table = Array<const int64_t, 2>;

const Event* rows(const Packed& events) {
    require(events.shape(1) == sizeof(Event), "packed events must have 13 bytes");
    return reinterpret_cast<const Event*>(events.data());
}

const WideEvent* rows(const Table& events) {
    require(events.shape(1) == 4, "events must have four columns: t, x, y, p");
    return reinterpret_cast<const WideEvent*>(events.data());
}

template <class Events>
size_t check(const Events& events, Size sensor, int64_t latest) {
    const auto* given = rows(events);
    nb::gil_scoped_release released;
    return first_fault(given, events.shape(0), sensor, latest);
}

template <class Events>
size_t sifted(Sifter& sifter, const Events& events, int64_t expected, Array<uint8_t, 2> admitted) {
    const auto* given = rows(events);
    require(
        admitted.shape(0) >= sifter.held() + events.shape(0) && admitted.shape(1) == sizeof(Event),
        "`admitted` must have room for all events");
    nb::gil_scoped_release released;
    auto* room = reinterpret_cast<Event*>(admitted.data());
    return size_t(sifter.sift(given, events.shape(0), expected, room) - room);
}

size_t released(Sifter& sifter, Array<uint8_t, 2> admitted) {
    require(admitted.shape(0) >= sifter.held() && admitted.shape(1) == sizeof(Event),
            "`admitted` must have room for the events that are held");
    auto* room = reinterpret_cast<Event*>(admitted.data());
    return size_t(sifter.release(room) - room);
}

nb::dict dropped(const Sifter& sifter) {
    nb::dict found;
    found["range"] = sifter.dropped()[range];
    found["polarity"] = sifter.dropped()[polarity];
    found["order"] = sifter.dropped()[order];
    return found;
}

size_t first_at_time(const Packed& events, int64_t time) {
    return first_at(rows(events), events.shape(0), time);
}

void count(const Packed& events, size_t first, size_t last, Size sensor, Array<int64_t, 3> cells) {
    const Event* given = rows(events);
    const Size size{int64_t(cells.shape(1)), int64_t(cells.shape(2))};
    require(first <= last && last <= events.shape(0), "there are no such events");
    require(cells.shape(0) == 2 && size.height <= sensor.height && size.width <= sensor.width,
            "the cells must not be larger than the sensor");
    require(std::max(sensor.height, sensor.width) < int64_t(1) << 31, "the sensor is too large");
    bool valid;
    {
        nb::gil_scoped_release released;
        valid = add(given + first, last - first, sensor, size, cells.data()) == last - first;
    }
    require(valid, "an event does not lie on the sensor");
}

int64_t clipped(const Array<const int64_t, 3>& cells, int32_t largest, Array<int32_t, 3> into) {
    require(cells.size() == into.size(), "the clipped counts must have the shape of the counts");
    return clip(cells.data(), cells.size(), largest, into.data());
}

// Whether all positions have a neighbor on the scene's axis of `length` pixels.
bool inside(const Array<const float, 2>& positions, size_t length) {
    for (size_t index = 0; index < positions.size(); ++index) {
        const float at = positions.data()[index];
        if (!(at >= 0 && at < float(length) - 1)) return false;
    }
    return true;
}

void moved(Array<const float, 2> scene, Array<const float, 2> rows, Array<const float, 2> columns,
           Array<float, 3> frames) {
    const size_t steps = frames.shape(0), height = frames.shape(1), width = frames.shape(2);
    require(rows.shape(0) == steps && rows.shape(1) == height && columns.shape(0) == steps &&
                columns.shape(1) == width,
            "the positions do not fit the frames");
    require(inside(rows, scene.shape(0)) && inside(columns, scene.shape(1)),
            "a position is outside of the scene");
    nb::gil_scoped_release released;
    move({scene.data(), scene.shape(1)}, {rows.data(), columns.data()}, steps, height, width,
         frames.data());
}

void take_logarithms(Array<float, 3> values) {
    float *const begin = values.data(), *const end = begin + values.size();
    nb::gil_scoped_release released;
    using Limits = std::numeric_limits<float>;
    require(
        std::all_of(begin, end, [](float x) { return x >= Limits::min() && x <= Limits::max(); }),
        "intensities must be positive and finite");
    std::transform(begin, end, begin, logarithm);
}

void check_frames(const Array<const float, 3>& levels, const Array<const int64_t, 1>& order,
                  const Array<const int64_t, 1>& times) {
    require(order.size() >= 1 && times.size() == order.size() && times.data()[0] == 0,
            "there must be at least one frame, and one time per frame, from 0 on");
    for (size_t step = 1; step < times.size(); ++step) {
        const int64_t interval = times.data()[step] - times.data()[step - 1];
        require(interval >= 1 && interval < int64_t(1) << 24,
                "frames must be 1 to 2^24 - 1 us apart");
    }
    for (size_t step = 0; step < order.size(); ++step)
        require(order.data()[step] >= 0 && order.data()[step] < int64_t(levels.shape(0)),
                "the order names a frame that does not exist");
    for (size_t index = 0; index < levels.size(); ++index)
        require(std::abs(levels.data()[index]) <= 1000,
                "levels must be finite and within -1000..1000");
}

void check_thresholds(const Array<const float, 2>& thresholds, Size size) {
    require(thresholds.shape(0) == size_t(size.height) && thresholds.shape(1) == size_t(size.width),
            "there must be one threshold per pixel");
    for (size_t pixel = 0; pixel < thresholds.size(); ++pixel)
        require(thresholds.data()[pixel] >= 1e-3f, "thresholds must be at least 0.001");
}

// A NumPy array that owns the events.
nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>> array_of(std::vector<Event> events) {
    auto* kept = new std::vector<Event>(std::move(events));
    const nb::capsule owner(
        kept, [](void* memory) noexcept { delete static_cast<std::vector<Event>*>(memory); });
    return {kept->data(), {kept->size(), sizeof(Event)}, owner};
}

nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>> emulated(Array<const float, 3> levels,
                                                      Array<const int64_t, 1> order,
                                                      Array<const int64_t, 1> times,
                                                      Array<const float, 2> off,
                                                      Array<const float, 2> on, double refractory,
                                                      double leak, double readout, Packed noise) {
    const Size size{int64_t(levels.shape(1)), int64_t(levels.shape(2))};
    require(size.height <= 65536 && size.width <= 65536 && size.height * size.width < 1LL << 31,
            "the sensor is too large");
    check_frames(levels, order, times);
    check_thresholds(off, size);
    check_thresholds(on, size);
    require(refractory >= 0 && leak >= 0 && readout >= 0,
            "the refractory time, the leak and the time of the readout must not be negative");
    const Event* given = rows(noise);
    require(first_fault(given, noise.shape(0), size, 0) == noise.shape(0),
            "the noise does not fit the sensor");
    std::vector<Event> events;
    {
        nb::gil_scoped_release released;
        events = emulate({levels.data(), order.data(), times.data(), int64_t(order.size())},
                         {size, off.data(), on.data(), refractory, leak, readout}, given,
                         int64_t(noise.shape(0)));
    }
    return array_of(std::move(events));
}

template <class F>
std::unique_ptr<Filter> make_filter(Size sensor, int64_t time) {
    require(sensor.height >= 1 && sensor.width >= 1 && sensor.height <= 65536 &&
                sensor.width <= 65536 && time >= 0 && time <= MAX_TIME,
            "the sensor or the time of the filter is out of range");
    return std::make_unique<F>(sensor, time);
}

size_t filtered(Filter& filter, const Packed& events, Array<uint8_t, 2> kept) {
    const Event* given = rows(events);
    require(kept.shape(0) >= events.shape(0) && kept.shape(1) == sizeof(Event),
            "`kept` must have room for all events");
    require(first_fault(given, events.shape(0), filter.sensor(), -MAX_TIME) == events.shape(0),
            "the events must be valid");
    nb::gil_scoped_release released;
    auto* room = reinterpret_cast<Event*>(kept.data());
    return size_t(filter.apply(given, events.shape(0), room) - room);
}

nb::ndarray<nb::numpy, uint8_t, nb::ndim<2>> decoded(Decoder& decoder,
                                                     const Array<const uint8_t, 1>& bytes) {
    require(bytes.size() % decoder.word_bytes() == 0, "the bytes must hold whole words");
    Event* events;
    size_t number;
    {
        nb::gil_scoped_release released;
        const size_t most = bytes.size() / decoder.word_bytes() * decoder.max_events();
        const std::unique_ptr<Event[]> room(new Event[most]);  // not initialized: it may be large
        number = size_t(decoder.decode(bytes.data(), bytes.size(), room.get()) - room.get());
        events = new Event[number];
        std::copy_n(room.get(), number, events);
    }
    const nb::capsule owner(events,
                            [](void* memory) noexcept { delete[] static_cast<Event*>(memory); });
    return {events, {number, sizeof(Event)}, owner};
}

}  // namespace

NB_MODULE(_core, m) {
    nb::set_leak_warnings(false);  // a thread of the caller may keep objects until the process ends
    m.doc() = "Event arrays: validation, counts per time bin, and an emulated sensor.";

    nb::class_<Sifter>(m, "Sifter", "Passes valid events on and counts the others.")
        .def(nb::init<Size, int64_t>(), "sensor"_a, "max_gap"_a)
        .def_prop_ro("held", &Sifter::held)
        .def_prop_ro("dropped", &dropped)
        .def("sift", &sifted<Packed>, nb::arg("events").noconvert(), "expected"_a,
             nb::arg("admitted").noconvert())
        .def("sift", &sifted<Table>, nb::arg("events").noconvert(), "expected"_a,
             nb::arg("admitted").noconvert())
        .def("release", &released, nb::arg("admitted").noconvert());

    nb::class_<Filter>(m, "Filter", "Keeps some of the events of a recording.")
        .def("apply", &filtered, nb::arg("events").noconvert(), nb::arg("kept").noconvert());
    m.def("background_activity_filter", &make_filter<BackgroundActivityFilter>, "sensor"_a,
          "time"_a);
    m.def("refractory_filter", &make_filter<RefractoryFilter>, "sensor"_a, "time"_a);

    nb::class_<Decoder>(m, "Decoder", "Decodes the bytes of an event file piece by piece.")
        .def_prop_ro("word_bytes", &Decoder::word_bytes)
        .def_prop_ro("complete", &Decoder::complete)
        .def("decode", &decoded, nb::arg("bytes").noconvert());
    m.def("make_decoder", &make_decoder, "format"_a);

    m.def("check", &check<Packed>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a,
          "Index of the first event with a fault, or the number of events.");
    m.def("check", &check<Table>, nb::arg("events").noconvert(), "sensor"_a, "latest"_a);
    m.def("first_at", &first_at_time, nb::arg("events").noconvert(), "time"_a,
          "Index of the first event that is not earlier than `time`.");
    m.def("count", &count, nb::arg("events").noconvert(), "first"_a, "last"_a, "sensor"_a,
          nb::arg("cells").noconvert(),
          "Add the events `first` to `last` to the counts `cells` [2, H, W].");
    m.def("clip", &clipped, nb::arg("cells").noconvert(), "largest"_a,
          nb::arg("clipped").noconvert(),
          "Write counts [2, H, W], at most `largest` each, and return how many events are lost.");
    m.def(
        "move", &moved, nb::arg("scene").noconvert(), nb::arg("rows").noconvert(),
        nb::arg("columns").noconvert(), nb::arg("frames").noconvert(),
        "Write frames [S, H, W]: a scene [h, w] at rows [S, H] and columns [S, W] of its pixels.");
    m.def("take_logarithms", &take_logarithms, nb::arg("values").noconvert(),
          "Replace positive values [S, H, W] by their natural logarithms.");
    m.def("emulate", &emulated, nb::kw_only(), nb::arg("levels").noconvert(),
          nb::arg("order").noconvert(), nb::arg("times").noconvert(), nb::arg("off").noconvert(),
          nb::arg("on").noconvert(), "refractory"_a, "leak"_a, "readout"_a,
          nb::arg("noise").noconvert(),
          "Events that the pixels of a sensor send, as uint8 [n, 13] in order of time.");
}
