// Loads an exported model as TensorFlow Serving does, without Python, and answers requests as its PredictionService
// does.
//
//     serving MODEL REQUESTS ANSWERS [SECONDS CALLERS]
//
// MODEL is the directory of a version. REQUESTS is a TFRecord file of PredictionLogs, as assets.extra/ has one for
// warm-up. ANSWERS becomes a TFRecord file of TensorProtos, the only output of each request in turn. With SECONDS each
// request is then repeated for that long by so many CALLERS at a time, and the requests a second are printed, a line
// each. serving.py builds this; tests/inference/test_served.py compares the answers with the model's.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "google/protobuf/io/coded_stream.h"
#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/lib/io/record_writer.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/public/session.h"

namespace {

void Check(const absl::Status& status) {
  if (!status.ok()) {
    std::cerr << status.ToString() << std::endl;
    std::exit(1);
  }
}

void Check(bool holds, const std::string& otherwise) {
  if (!holds) Check(absl::InvalidArgumentError(otherwise));
}

using Fields = std::multimap<int, std::string>;

// The texts and messages among a message's fields, by number. The wheel of TensorFlow has no headers of Serving's own
// messages.
Fields FieldsOf(const std::string& message) {
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(message.data()), message.size());
  Fields found;
  while (const uint32_t tag = stream.ReadTag()) {
    uint32_t size;
    uint64_t number;
    std::string value;
    if ((tag & 7) == 2) {
      Check(stream.ReadVarint32(&size) && stream.ReadString(&value, size), "a broken message");
      found.emplace(tag >> 3, value);
    } else {
      Check((tag & 7) == 0 && stream.ReadVarint64(&number), "a field that PredictionLog does not have");
    }
  }
  return found;
}

std::string FieldOf(const std::string& message, int number) {
  const Fields fields = FieldsOf(message);
  const auto found = fields.find(number);
  Check(found != fields.end(), "no field " + std::to_string(number));
  return found->second;
}

// What a session is run with.
struct Request {
  std::vector<std::pair<std::string, tensorflow::Tensor>> feeds;
  std::vector<std::string> fetches;
};

// Numbers of fields: tensorflow_serving/apis/prediction_log.proto, predict.proto and model.proto.
Request RequestOf(const std::string& log, const tensorflow::SavedModelBundle& bundle) {
  const std::string request = FieldOf(FieldOf(log, 6), 1);  // predict_log, request
  const std::string signature_name = FieldOf(FieldOf(request, 1), 3);  // model_spec, signature_name
  const auto& signatures = bundle.GetSignatures();
  Check(signatures.count(signature_name), "no signature " + signature_name);
  const tensorflow::SignatureDef& signature = signatures.at(signature_name);
  Request parsed;
  std::set<std::string> given;
  const Fields fields = FieldsOf(request);
  const auto inputs = fields.equal_range(2);
  for (auto input = inputs.first; input != inputs.second; ++input) {
    const std::string name = FieldOf(input->second, 1);
    Check(signature.inputs().count(name), signature_name + " has no input " + name);
    tensorflow::TensorProto proto;
    tensorflow::Tensor tensor;
    Check(proto.ParseFromString(FieldOf(input->second, 2)) && tensor.FromProto(proto), "a broken tensor");
    Check(tensor.dtype() == signature.inputs().at(name).dtype(), name + " is of another type");
    parsed.feeds.emplace_back(signature.inputs().at(name).name(), tensor);
    given.insert(name);
  }
  Check(given.size() == signature.inputs().size(), "not all inputs of " + signature_name + " are given");
  for (const auto& output : signature.outputs()) parsed.fetches.push_back(output.second.name());
  Check(parsed.fetches.size() == 1, signature_name + " has not one output");
  return parsed;
}

std::vector<Request> ReadRequests(const std::string& path, const tensorflow::SavedModelBundle& bundle) {
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  Check(tensorflow::Env::Default()->NewRandomAccessFile(path, &file));
  tensorflow::io::SequentialRecordReader reader(file.get());
  std::vector<Request> requests;
  tensorflow::tstring record;
  absl::Status status;
  while ((status = reader.ReadRecord(&record)).ok()) requests.push_back(RequestOf(std::string(record), bundle));
  Check(absl::IsOutOfRange(status), status.ToString());
  return requests;
}

tensorflow::Tensor Answer(const Request& request, const tensorflow::SavedModelBundle& bundle) {
  std::vector<tensorflow::Tensor> outputs;
  Check(bundle.GetSession()->Run(request.feeds, request.fetches, {}, &outputs));
  return outputs[0];
}

double RequestsPerSecond(const Request& request, const tensorflow::SavedModelBundle& bundle, double seconds,
                         int callers) {
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  const auto passed = [&] { return std::chrono::duration<double>(Clock::now() - started).count(); };
  std::vector<int> answered(callers);
  std::vector<std::thread> threads;
  for (int& count : answered) {
    threads.emplace_back([&] {
      do {
        Answer(request, bundle);
        ++count;
      } while (passed() < seconds);
    });
  }
  for (std::thread& thread : threads) thread.join();
  int all = 0;
  for (const int count : answered) all += count;
  return all / passed();
}

}  // namespace

int main(int argc, char** argv) {
  Check(argc == 4 || argc == 6, "usage: serving MODEL REQUESTS ANSWERS [SECONDS CALLERS]");
  tensorflow::SavedModelBundle bundle;
  Check(tensorflow::LoadSavedModel({}, {}, argv[1], {"serve"}, &bundle));
  const std::vector<Request> requests = ReadRequests(argv[2], bundle);

  std::unique_ptr<tensorflow::WritableFile> file;
  Check(tensorflow::Env::Default()->NewWritableFile(argv[3], &file));
  tensorflow::io::RecordWriter writer(file.get());
  for (const Request& request : requests) {
    tensorflow::TensorProto proto;
    Answer(request, bundle).AsProtoTensorContent(&proto);
    Check(writer.WriteRecord(proto.SerializeAsString()));
  }
  Check(writer.Close());
  Check(file->Close());

  for (const Request& request : requests) {
    if (argc == 6) std::cout << RequestsPerSecond(request, bundle, std::atof(argv[4]), std::atoi(argv[5])) << std::endl;
  }
}
